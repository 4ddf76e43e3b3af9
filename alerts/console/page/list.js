// The live list: what nobody has answered first, the highest level first, the newest first.

import { unlessPressed } from "./press.js";
import { state } from "./server.js";
import { amount, badge, both, district, h, person, span, time, word } from "./words.js";

const MOST = 500;
const KINDS = ["flood", "rain", "infrared", "crowd"];
const rows = new Map(); // id → { element, item, waits }
let kind = "";
let open = () => {};

const waiting = (item) => item.state === "open" || item.state === "notified" || item.state === "alert";
export const ringing = () => [...state.items.values()].some((i) => i.highest === 4 && i.state !== "alert" && waiting(i) && !i.silenced);

function rank(item) {
  const urgency = item.state === "closed" ? 3 : item.silenced ? 2 : waiting(item) ? 0 : 1;
  return [urgency, -(item.level || item.highest - 0.5), -item.opened]; // what is over comes after what is not
}

function compare(x, y) {
  for (let i = 0; i < x.length; i += 1) if (x[i] !== y[i]) return x[i] - y[i];
  return 0;
}

// In order. Of those that are as urgent and as high, the sensors of a catchment at red risk follow that risk.
function ordered(items) {
  const ranks = new Map(items.map((item) => [item.id, rank(item)]));
  const of = (item) => `${ranks.get(item.id).slice(0, 2)} ${item.group || item.id}`;
  const places = new Map(); // the group's: where the first of it would stand
  for (const item of items) {
    const place = places.get(of(item));
    if (!place || compare(ranks.get(item.id), place) < 0) places.set(of(item), ranks.get(item.id));
  }
  const keys = new Map(items.map((item) => [item.id, { place: places.get(of(item)), of: of(item), rank: ranks.get(item.id), follows: Number(Boolean(item.group)) }]));
  return [...items].sort((a, b) => {
    const [x, y] = [keys.get(a.id), keys.get(b.id)];
    if (x.of !== y.of) return compare(x.place, y.place) || (x.of < y.of ? -1 : 1);
    return x.follows - y.follows || compare(x.rank, y.rank) || (a.id < b.id ? -1 : 1);
  });
}

export function setUpList(onOpen) {
  open = onOpen;
  const list = document.getElementById("list");
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...list.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    buttons[Math.min(buttons.length - 1, Math.max(0, at + step))]?.focus();
  });
}

export function drawFilter() {
  const group = document.getElementById("filter");
  group.replaceChildren(...["", ...KINDS].map((one) => h("button", {
    type: "button", "aria-pressed": String(one === kind),
    onclick: () => { kind = one; drawFilter(); drawList(); },
  }, word(one || "all"))));
}

export const drawNews = () => unlessPressed(drawList);

export function drawList(anew = false) {
  const list = document.getElementById("list");
  if (anew === true) { rows.clear(); list.replaceChildren(); }
  const items = ordered([...state.items.values()].filter((item) => !kind || item.kind === kind));
  const shown = items.slice(0, MOST);
  const kept = new Set(shown.map((item) => item.id));
  for (const [id, row] of rows) if (!kept.has(id)) { row.element.remove(); rows.delete(id); }
  let under = null; // the risk that the rows before this one belong to
  shown.forEach((item, place) => {
    let row = rows.get(item.id);
    if (!row || row.item !== item) {
      const made = makeRow(item);
      if (row) {
        if (row.element.contains(document.activeElement)) queueMicrotask(() => made.element.firstChild.focus());
        row.element.replaceWith(made.element);
      }
      rows.set(item.id, made);
      row = made;
    }
    if (item.group !== under) under = item.id;
    row.element.firstChild.classList.toggle("member", under === item.group);
    if (list.children[place] !== row.element) list.insertBefore(row.element, list.children[place] || null);
  });
  const more = document.getElementById("more");
  more.textContent = items.length ? (items.length > MOST ? word("more", { n: items.length - MOST }) : "") : word("none");
}

export function drawWaits() {
  for (const { waits, item } of rows.values()) if (waits) waits.textContent = word("waits", { s: span(state.clock - item.opened) });
}

export function stateLine(item) {
  if (item.state === "closed") return item.closed_by ? word("closed_by", { who: person(item.closed_by) }) : word("closed_itself");
  if (item.state === "acknowledged" && item.acknowledged_by) return word("answered_by", { who: person(item.acknowledged_by) });
  return word(item.state);
}

export function tags(item) {
  const found = ["exercise", "unwatched", "no_data", "flapping", "silenced", "group"].filter((tag) => item[tag]);
  if (item.resolved && item.state !== "closed") found.push("resolved");
  return found.map((tag) => h("span", { class: "tag" }, word(tag)));
}

function makeRow(item) {
  const waits = waiting(item) ? h("span", { class: "waits" }, word("waits", { s: span(state.clock - item.opened) })) : null;
  const level = item.level || item.highest;
  const value = amount(item, "value");
  const button = h("button", { type: "button", class: `row level-${level} ${item.state}`, onclick: () => open(item.id) },
    badge(level),
    h("span", { class: "where" }, `${district(item.district)} ${item.name}`),
    h("span", { class: "what" }, `${both(item.what)}${value ? ` ${value}` : ""}`),
    h("span", { class: "when" }, time(item.opened), " ", h("b", {}, stateLine(item)), " ", waits, tags(item)));
  return { element: h("li", { "data-id": item.id }, button), item, waits };
}
