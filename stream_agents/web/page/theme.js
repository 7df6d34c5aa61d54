// Before anything is drawn, so that a page in the dark does not flash. Classic script: modules come too late.
"use strict";
{
  let wanted = "auto";
  try {
    wanted = localStorage.getItem("embedwatch-theme") ?? "auto";
  } catch {
    // storage may be forbidden: then the choice holds for this visit
  }
  document.documentElement.dataset.theme = ["light", "dark"].includes(wanted) ? wanted : "auto";
}
