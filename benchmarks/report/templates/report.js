"use strict";
(() => {
  // Tables: a click on a title sorts by it, another one turns the order round.
  const valueOf = (row, position) => {
    const cell = row.cells[position];
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return cell.textContent.trim();
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };
  const status = document.getElementById("status");

  const sort = (table, header) => {
    const headers = [...header.parentNode.cells];
    const position = headers.indexOf(header);
    const order = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const isMissing = (value) => value === "-" || value === "";
    const rows = [...body.rows].map((row) => [valueOf(row, position), row]);
    rows.sort(([a], [b]) => {
      if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b); // always last
      return sign * compare(a, b);
    });
    body.append(...rows.map(([, row]) => row));
    for (const each of headers) each.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);
    status.textContent = `Sorted by ${header.textContent.trim()}, ${order}`;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    for (const header of table.tHead.rows[0].cells) {
      header.querySelector("button").addEventListener("click", () => sort(table, header));
    }
  }

  document.getElementById("download").addEventListener("click", () => {
    const results = JSON.parse(document.getElementById("results").textContent);
    const text = JSON.stringify(results, null, 2) + "\n";
    const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = "results.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  });

  // Colours: as the system has them, unless chosen here.
  const button = document.getElementById("theme");
  const themes = { auto: "Auto", light: "Light", dark: "Dark" };
  const show = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = themes[theme];
    button.setAttribute("aria-label", `Colours: ${theme === "auto" ? "as the system" : theme}`);
  };
  let theme = "auto";
  try {
    theme = localStorage.getItem("fastmlp-theme") || "auto";
  } catch { /* a browser may refuse storage to files */ }
  show(theme in themes ? theme : "auto");
  button.addEventListener("click", () => {
    const names = Object.keys(themes);
    theme = names[(names.indexOf(theme) + 1) % names.length];
    show(theme);
    try {
      localStorage.setItem("fastmlp-theme", theme);
    } catch { /* then it holds for this visit */ }
  });
})();
