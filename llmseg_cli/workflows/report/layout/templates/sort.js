"use strict";
// A click on a head sorts a table by that column: numbers and times by size, dashes last.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...[...body.rows].sort((a, b) => compared(a, b, column, up)));
    });
  });
}

function compared(first, second, column, up) {
  const [a, b] = [first, second].map((row) => row.cells[column].textContent.trim());
  if (a === "-" || b === "-") return (a === "-") - (b === "-");
  const [x, y] = [a, b].map(size);
  const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  return up ? order : -order;
}

function size(text) {
  const time = /^(?:(\d+) h )?([\d.]+) (min|s)$/.exec(text);
  if (time) return 3600 * (time[1] || 0) + time[2] * (time[3] === "min" ? 60 : 1);
  return /^-?[\d.,]+(e[-+]?\d+)?($| )/.test(text) ? Number.parseFloat(text.replaceAll(",", "")) : NaN;
}
