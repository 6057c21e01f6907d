"use strict";
// Folded parts open for a link and for printing, tables sort by a click on a head, marks of figures tell their numbers.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
function unfold() {
  const target = document.getElementById(location.hash.slice(1));
  const fold = target && target.closest("details");
  if (fold) { fold.open = true; target.scrollIntoView(); }
}
addEventListener("hashchange", unfold);
unfold();

function sortBy(table, place, head) {
  const down = head.getAttribute("aria-sort") !== "descending";
  const blocks = [];
  for (const row of table.tBodies[0].rows) {  // rows that belong to the one above stay under it
    if (row.classList.contains("beneath") && blocks.length) blocks[blocks.length - 1].push(row);
    else blocks.push([row]);
  }
  const key = (block) => {
    const cell = block[0].cells[place];
    if (!cell || block[0].querySelector("[colspan]")) return null;
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  const isEmpty = (value) => value === null || value === "" || value === "-";
  blocks.sort((one, other) => {
    const a = key(one), b = key(other);
    if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    return down ? -order : order;
  });
  table.tHead.querySelectorAll("[aria-sort]").forEach((one) => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  blocks.flat().forEach((row) => table.tBodies[0].append(row));
}
for (const table of document.querySelectorAll("figure.grid table")) {
  [...table.tHead.rows[table.tHead.rows.length - 1].cells].forEach((head, place) => {
    head.tabIndex = 0;
    head.classList.add("sorts");
    head.addEventListener("click", () => sortBy(table, place, head));
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(table, place, head); });
  });
}

const tip = document.getElementById("tip");
for (const title of document.querySelectorAll("svg .tip > title")) {
  const mark = title.parentNode, text = title.textContent;
  title.remove();  // the browser's own would come, too, and late
  const show = (event) => {
    tip.textContent = text;
    tip.hidden = false;
    const wide = document.documentElement.clientWidth;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, wide - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, event.clientY - tip.offsetHeight - 12)}px`;
  };
  mark.addEventListener("pointermove", show);
  mark.addEventListener("pointerdown", show);
  mark.addEventListener("pointerleave", () => { tip.hidden = true; });
}
