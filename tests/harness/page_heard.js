() => {
  const named = (element) => {
    const by = element.getAttribute("aria-labelledby");
    const label = by ? document.getElementById(by)?.textContent : element.getAttribute("aria-label");
    return (label ?? [...(element.labels ?? [])].map((each) => each.textContent).join("") ?? "").trim() || element.textContent.trim();
  };
  const wanted = "a, button, input, select, summary, progress, dialog, figure, form, section, [role], [tabindex]:not(main)";
  const unnamed = [...document.querySelectorAll(wanted)].filter((element) => !named(element) || (element.matches("select, input, progress") && !element.labels?.length && !element.getAttribute("aria-label")));
  const counted = (selectors) => Object.fromEntries(selectors.map((selector) => [selector, document.querySelectorAll(selector).length]));
  return {
    unnamed: unnamed.map((element) => element.outerHTML.slice(0, 120)),
    headings: [...document.querySelectorAll("h1, h2, h3, h4")].filter((each) => !each.closest("dialog")).map((each) => Number(each.tagName[1])),
    landmarks: counted(["header", "main", "nav[aria-label]", "footer", "html[lang]"]),
    charts: [...document.querySelectorAll("figure.chart")].filter((each) => each.querySelector("[role=img][aria-label]") && each.querySelector("details summary")).length,
    tables: [...document.querySelectorAll("table")].filter((each) => each.caption && each.querySelector("th[scope=col]") && each.querySelector("th[scope=row]")).length,
  };
}
