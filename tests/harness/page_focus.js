() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  return { name: element.tagName, outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
}
