() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour, under) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const each of [under, colour]) if (each) { canvas.fillStyle = each; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\)$/.test(colour) && colour !== "transparent") return colour;
    }
    return "white";
  };
  const texts = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(".hidden, noscript, dialog, .skip")) continue;
    texts.push({ text: element.textContent.slice(0, 40), ratio: ratio(rgb(getComputedStyle(element).color), rgb(behind(element))) });
  }
  const panel = rgb(getComputedStyle(document.querySelector(".chart")).backgroundColor);
  const style = getComputedStyle(document.documentElement);
  const drawn = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--focus"].map((name) => ({ name, ratio: ratio(rgb(style.getPropertyValue(name)), panel) }));
  return { texts, drawn };
}
