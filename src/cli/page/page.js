"use strict";
// The matrix of one report. `data` holds ends, services, texts, and cells as six numbers each:
// sender, receiver, service, flags, reason, place of the expectation (-1: nothing is expected).
const data = JSON.parse(document.getElementById("data").textContent);
const DECIDED = 1, SEEN = 2, OBSERVED = 4, WANTED = 8, EXPECTED = 16;
// More squares than this are drawn by group.
const MANY = 30000;

const $ = (id) => document.getElementById(id);
const make = (tag, attributes, ...inside) => {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...inside);
  return element;
};

const ends = data.ends.map(([name, group, about], at) => ({ at, name, group, about }));
const full = (end) => (end.group && !data.flat ? end.group + "/" + end.name : end.name);
const services = data.services.map(([label, family]) => ({ label, family }));

// The cells of each pair.
const pairs = new Map();
for (let at = 0; at < data.cells.length; at += 6) {
  const [from, to, service, flags, reason, place] = data.cells.slice(at, at + 6);
  const cell = { from, to, service, flags, reason, place };
  const decided = !!(flags & DECIDED), seen = !!(flags & SEEN), observed = !!(flags & OBSERVED);
  cell.is = seen ? observed : decided;
  cell.unexpected = !!(flags & WANTED) && !!(flags & EXPECTED) !== cell.is;
  cell.disagrees = seen && observed !== decided;
  const key = from * ends.length + to;
  pairs.get(key)?.push(cell) ?? pairs.set(key, [cell]);
}

const wish = { from: "", to: "", service: "", family: "", mark: "" };
let chosen = null; // {from, to}: numbers of ends
let units = { rows: [], columns: [], grouped: false };

const fits = (cell) =>
  (!wish.service || services[cell.service].label === wish.service) &&
  (!wish.family || services[cell.service].family === wish.family);

const between = (row, column) => {
  const all = [];
  for (const from of row.ends) for (const to of column.ends) {
    for (const cell of pairs.get(from * ends.length + to) || []) if (fits(cell)) all.push(cell);
  }
  return all;
};

const markOf = (cells) => {
  if (!cells.length) return "none";
  if (cells.some((c) => c.unexpected || c.disagrees)) return "wrong";
  const allowed = cells.filter((c) => c.is).length;
  if (cells.every((c) => c.from === c.to)) return allowed === cells.length ? "own" : "mixed";
  return allowed === cells.length ? "allowed" : allowed ? "mixed" : "denied";
};
const WORDS = { allowed: "allowed", denied: "denied", mixed: "some allowed", wrong: "not as it should be", own: "itself", none: "not served" };

const matches = (end, text) =>
  text.toLowerCase().split(/\s+/).filter(Boolean).every((word) => (end.group + "/" + end.name + " " + end.about).toLowerCase().includes(word));

function axes() {
  const take = (text) => ends.filter((end) => matches(end, text));
  const [from, to] = [take(wish.from), take(wish.to)];
  const grouped = from.length * to.length > MANY;
  const unit = (all) => {
    if (!grouped) return all.map((end) => ({ name: end.name, group: end.group, title: full(end), ends: [end.at] }));
    const groups = new Map();
    for (const end of all) groups.get(end.group)?.push(end.at) ?? groups.set(end.group, [end.at]);
    return [...groups].map(([name, inside]) => ({ name, group: "", title: name + " (" + inside.length + ")", ends: inside }));
  };
  units = { rows: unit(from), columns: unit(to), grouped };
}

function draw() {
  axes();
  let { rows, columns } = units;
  const marks = rows.map((row) => columns.map((column) => markOf(between(row, column))));
  const wanted = (mark) => !wish.mark || mark === wish.mark || (mark === "mixed" && (wish.mark === "allowed" || wish.mark === "denied"));
  // What serves nothing that is asked for is no column; with a mark chosen, rows without it go, too.
  const keep = (mark) => (wish.mark ? wanted(mark) : mark !== "none");
  const keptRows = rows.map((_, r) => r).filter((r) => marks[r].some(keep));
  const keptColumns = columns.map((_, c) => c).filter((c) => marks.some((line) => keep(line[c])));
  const most = Math.max(keptRows.length, keptColumns.length);
  const size = most <= 14 ? 34 : most <= 34 ? 24 : most <= 60 ? 17 : 12;
  const field = $("field");
  field.style.setProperty("--cell", size + "px");
  field.toggleAttribute("data-small", size < 17);
  if (!keptRows.length) {
    field.replaceChildren(make("p", { class: "note" }, "Nothing is left to show: change the filter."));
    $("shown").textContent = "";
    return details();
  }
  const starts = (list, all) => list.map((at, i) => i > 0 && all[at].group !== all[list[i - 1]].group);
  const [rowStarts, columnStarts] = [starts(keptRows, rows), starts(keptColumns, columns)];
  const table = make("table", { role: "grid", "aria-label": "Rows send, columns receive" });
  const head = make("thead");
  const groups = make("tr", { class: "groups" }, make("th", { class: "corner" }));
  keptColumns.forEach((at, i) => {
    if (i > 0 && !columnStarts[i]) {
      groups.lastChild.colSpan += 1;
      return;
    }
    const group = columns[at].group;
    const th = make("th", { title: group, class: columnStarts[i] ? "start" : "" });
    if (group) th.append(make("span", {}, group));
    groups.append(th);
  });
  // The span must not be wider than its columns: `colSpan` alone would let a long name widen them.
  for (const th of [...groups.children].slice(1)) if (th.firstChild) th.firstChild.style.maxWidth = th.colSpan * size - 2 + "px";
  const names = make("tr", { class: "names" }, make("th", { class: "corner" }));
  keptColumns.forEach((at, i) => {
    const span = make("span", {}, columns[at].name);
    span.style.fontSize = Math.min(13, Math.max(10, size - 2)) + "px";
    names.append(make("th", { scope: "col", title: columns[at].title, class: columnStarts[i] ? "start" : "" }, span));
  });
  head.append(groups, names);
  const body = make("tbody");
  let count = 0;
  keptRows.forEach((r, i) => {
    const th = make("th", { scope: "row", title: rows[r].title });
    if (rows[r].group && !data.flat) th.append(make("span", { class: "ns" }, rows[r].group + "/"));
    th.append(rows[r].name);
    th.style.fontSize = Math.min(13, Math.max(11, size)) + "px";
    const line = make("tr", { class: rowStarts[i] ? "first" : "" }, th);
    keptColumns.forEach((c, j) => {
      const mark = marks[r][c];
      if (mark !== "none" && wanted(mark)) count += 1;
      const td = make("td", {
        role: "gridcell", tabindex: "-1", "data-r": r, "data-c": c,
        class: (mark === "none" ? "none" : wanted(mark) ? "" : "faded") + (columnStarts[j] ? " start" : ""),
        "aria-label": rows[r].title + " to " + columns[c].title + ": " + WORDS[mark],
      }, make("i", { class: mark }));
      line.append(td);
    });
    body.append(line);
  });
  table.append(head, body);
  field.replaceChildren(table);
  const what = units.grouped ? "pairs of groups; filter to see single ends" : "pairs";
  $("shown").textContent = count + " of " + keptRows.length * keptColumns.length + " " + what;
  select(false);
  details();
}

const squareOf = (pair) => {
  if (!pair) return null;
  const row = units.rows.findIndex((u) => u.ends.includes(pair.from));
  const column = units.columns.findIndex((u) => u.ends.includes(pair.to));
  return document.querySelector(`td[data-r="${row}"][data-c="${column}"]`);
};

function select(focus) {
  document.querySelectorAll('td[aria-selected]').forEach((td) => td.removeAttribute("aria-selected"));
  document.querySelectorAll('td[tabindex="0"]').forEach((td) => td.setAttribute("tabindex", "-1"));
  const square = squareOf(chosen);
  square?.setAttribute("aria-selected", "true");
  (square || document.querySelector("td"))?.setAttribute("tabindex", "0");
  if (focus) square?.focus();
}

function choose(square, focus) {
  const [row, column] = [units.rows[square.dataset.r], units.columns[square.dataset.c]];
  if (units.grouped) {
    [wish.from, wish.to] = [row.name + "/", column.name + "/"];
    [$("from").value, $("to").value] = [wish.from, wish.to];
    return draw();
  }
  chosen = { from: row.ends[0], to: column.ends[0] };
  const hash = new URLSearchParams({ from: full(ends[chosen.from]), to: full(ends[chosen.to]) });
  history.replaceState(null, "", "#" + hash);
  select(focus);
  details();
}

function legend() {
  const all = [["allowed", "allowed"], ["denied", "denied"], ["mixed", "some ports allowed"], ["wrong", "other than expected, or packets did something else"], ["own", "itself"]];
  return make("div", { class: "legend" },
    ...all.map(([mark, words]) => make("span", {}, make("i", { class: mark }), words)),
    make("span", {}, make("kbd", {}, "←↑→↓"), "move"), make("span", {}, make("kbd", {}, "/"), "filter"),
    make("span", {}, make("kbd", {}, "x"), "swap sender and receiver"));
}

// The cells of a pair, families with the same answer together.
function folded(cells) {
  const all = new Map();
  for (const cell of cells) {
    const { label, family } = services[cell.service];
    const key = [label, cell.flags, cell.reason, cell.place].join(" ");
    all.get(key)?.families.push(family) ?? all.set(key, { label, cell, families: [family] });
  }
  const wrong = ({ cell }) => cell.unexpected || cell.disagrees;
  return [...all.values()].sort((a, b) => wrong(b) - wrong(a));
}

function details() {
  const box = $("details");
  if (!chosen) {
    box.replaceChildren(make("h2", {}, "Who reaches whom"),
      make("p", { class: "about" }, "Rows send, columns receive. Choose a square to read why it is as it is."), legend());
    return;
  }
  const [from, to] = [ends[chosen.from], ends[chosen.to]];
  const cells = (pairs.get(from.at * ends.length + to.at) || []).filter(fits);
  const swap = make("button", { type: "button" }, "Swap ⇄");
  swap.addEventListener("click", turn);
  const flows = folded(cells).map(({ label, families, cell }) => {
    const word = (allowed) => (allowed ? "allowed" : "denied");
    const wrong = cell.unexpected || cell.disagrees;
    const flow = make("div", { class: "flow " + word(cell.is) + (wrong ? " wrong" : "") },
      make("b", { class: word(cell.is) }, word(cell.is)), " ", make("code", {}, label), " ",
      make("span", { class: "about" }, families.join(", ")));
    const decided = word(!!(cell.flags & DECIDED));
    if (cell.disagrees) flow.append(make("p", { class: "said" }, "decided " + decided + ", packets " + word(cell.is)));
    else if (cell.flags & SEEN) flow.append(make("p", { class: "about" }, "packets did so, too"));
    if (cell.flags & WANTED) {
      const said = "expected " + word(!!(cell.flags & EXPECTED)) + (cell.place < 0 ? "" : " by " + data.texts[cell.place]);
      flow.append(make("p", { class: cell.unexpected ? "said" : "about" }, said));
    }
    for (const text of data.reasons[cell.reason].map((n) => data.texts[n])) {
      flow.append(make("p", { class: text.startsWith("  ") ? "tried" : "" }, text.trim()));
    }
    return flow;
  });
  const about = [from, to].filter((end) => end.about).map((end) => make("p", { class: "about mono" }, end.name + ": " + end.about));
  box.replaceChildren(
    make("h2", {}, full(from), make("span", { class: "arrow" }, "→"), full(to)), ...about,
    ...(flows.length ? flows : [make("p", { class: "about" }, "Nothing of what is asked for is served there.")]), swap, legend());
  box.scrollTop = 0;
}

function turn() {
  if (!chosen) return;
  chosen = { from: chosen.to, to: chosen.from };
  const square = squareOf(chosen);
  if (square) choose(square, false);
  else details();
}

function light(square, on) {
  if (!square) return;
  square.parentElement.firstChild.classList.toggle("lit", on);
  document.querySelector(".names").children[square.cellIndex]?.classList.toggle("lit", on);
}

function step(square, key) {
  const line = square.parentElement, at = square.cellIndex;
  const to = {
    ArrowLeft: () => square.previousElementSibling, ArrowRight: () => square.nextElementSibling,
    ArrowUp: () => line.previousElementSibling?.children[at], ArrowDown: () => line.nextElementSibling?.children[at],
    Home: () => line.children[1], End: () => line.lastElementChild,
  }[key];
  const next = to?.();
  return next?.tagName === "TD" ? next : null;
}

function listen() {
  const field = $("field");
  const square = (event) => event.target.closest?.("td");
  field.addEventListener("click", (e) => square(e) && choose(square(e), true));
  field.addEventListener("mouseover", (e) => light(square(e), true));
  field.addEventListener("mouseout", (e) => light(square(e), false));
  field.addEventListener("focusin", (e) => light(square(e), true));
  field.addEventListener("focusout", (e) => light(square(e), false));
  field.addEventListener("keydown", (e) => {
    const at = square(e);
    if (!at || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "Enter" || e.key === " ") choose(at, true);
    else {
      const next = step(at, e.key);
      if (!next) return;
      at.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
      if (!units.grouped) choose(next, true);
    }
    e.preventDefault();
  });
  document.addEventListener("keydown", (e) => {
    const writing = /^(INPUT|SELECT)$/.test(e.target.tagName);
    if (e.key === "Escape" && writing) document.querySelector('td[tabindex="0"]')?.focus();
    if (writing || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "/") { $("from").focus(); e.preventDefault(); }
    if (e.key === "x") turn();
  });
  for (const id of ["from", "to", "service", "family"]) {
    $(id).addEventListener("input", () => { wish[id] = $(id).value; draw(); });
  }
  window.addEventListener("hashchange", () => { follow(); draw(); });
  $("theme").addEventListener("click", () => paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
}

function paint(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = theme === "dark" ? "Light" : "Dark";
}

// `#from=shop/web&to=shop/db` chooses a square.
function follow() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const find = (name) => ends.find((end) => full(end) === name);
  const [from, to] = [find(hash.get("from")), find(hash.get("to"))];
  if (from && to) chosen = { from: from.at, to: to.at };
}

function fill(id, any, values) {
  $(id).append(make("option", { value: "" }, any), ...values.map((v) => make("option", { value: v }, v)));
  $(id).parentElement.hidden = values.length < 2;
  if (values.length < 2) $(id).parentElement.style.display = "none";
}

function begin() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  paint(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => paint(dark.matches ? "dark" : "light"));
  fill("service", "all", [...new Set(services.map((s) => s.label))]);
  fill("family", "both", [...new Set(services.map((s) => s.family))]);
  const all = [...pairs.values()].flat();
  const wrong = all.filter((c) => c.unexpected || c.disagrees).length;
  const judged = all.filter((c) => c.flags & (WANTED | SEEN)).length;
  if (judged) {
    $("verdict").textContent = wrong ? wrong + " not as it should be" : "all as it should be";
    $("verdict").className = "verdict " + (wrong ? "bad" : "good");
  } else $("verdict").remove();
  const marks = [["", "all"], ["allowed", "allowed"], ["denied", "denied"], ...(judged ? [["wrong", "wrong"]] : [])];
  for (const [mark, words] of marks) {
    const button = make("button", { type: "button", "aria-pressed": String(mark === "") }, words);
    button.addEventListener("click", () => {
      for (const other of $("marks").children) other.setAttribute("aria-pressed", String(other === button));
      wish.mark = mark;
      draw();
    });
    $("marks").append(button);
  }
  listen();
  follow();
  draw();
}

begin();
