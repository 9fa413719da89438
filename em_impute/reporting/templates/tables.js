// Tables of columns are sorted by the buttons in their headers, and searched. Without this the page reads as it is.
"use strict";
const FEW = 8;
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function numberOf(cell) {
  if (cell.dataset.value !== undefined) return parseFloat(cell.dataset.value);
  const text = cell.textContent.replaceAll(",", "").replaceAll("\u2212", "-");
  const found = text.match(/(-?\d+(?:\.\d+)?)(?: × 10(⁻?)([⁰¹²³⁴⁵⁶⁷⁸⁹]+))?/);
  if (!found) return NaN;
  const power = [...(found[3] ?? "0")].map((c) => Math.max(SUPERSCRIPTS.indexOf(c), 0)).join("");
  return Number(`${found[1]}e${found[2] ? "-" : ""}${power}`);
}

function takeOver(table) {
  const section = table.closest("section");
  const more = section.querySelector("details.more");
  if (!more || more.contains(table)) return;
  for (const row of more.querySelectorAll("tbody tr")) table.tBodies[0].append(row);
  more.remove();
}

function makeSortable(table, heads) {
  const body = table.tBodies[0];
  let original = null;
  for (const [place, head] of heads.entries()) {
    if (head.classList.contains("plain")) continue;
    const numeric = head.classList.contains("n") || "numeric" in head.dataset;
    const [first, second] = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      takeOver(table);
      original ??= [...body.rows];
      const before = head.getAttribute("aria-sort");
      const order = before === "none" ? first : before === first ? second : "none";
      for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", order);
      if (order === "none") return body.append(...original);
      const sign = order === "ascending" ? 1 : -1;
      const keys = new Map(original.map((row) => [row, numeric ? numberOf(row.cells[place]) : row.cells[place].textContent.trim()]));
      body.append(...original.toSorted((a, b) => {
        const x = keys.get(a), y = keys.get(b);
        if (!numeric) return sign * x.localeCompare(y, undefined, { numeric: true });
        return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y);
      }));
    });
  }
}

function makeSearchable(table, region) {
  const found = document.createElement("output");
  const box = document.createElement("input");
  const search = document.createElement("p");
  const what = region.getAttribute("aria-label");
  box.type = "search";
  box.placeholder = "Search";
  box.setAttribute("aria-label", `Search in the table: ${what}`);
  search.className = "search";
  search.append(box, " ", found);
  region.before(search);
  box.addEventListener("input", () => {
    takeOver(table);
    const wanted = box.value.trim().toLowerCase();
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    found.value = wanted ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
  });
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const region = table.closest(".scroll");
  const more = table.closest("section").querySelector("details.more");
  if (table.tBodies[0].rows.length < 2) continue;
  makeSortable(table, heads);
  const joined = more && more.contains(table);
  if (region && !joined && (more || table.tBodies[0].rows.length > FEW)) makeSearchable(table, region);
}

// Browsers that cannot open what is folded by style alone.
const opened = [];
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not([open])")) {
    fold.open = true;
    opened.push(fold);
  }
});
addEventListener("afterprint", () => {
  for (const fold of opened.splice(0)) fold.open = false;
});
