// Who is on call, what is silenced, and the figures of 有呼必应.

import { act, get, state } from "./server.js";
import { district, h, person, span, time, day, word } from "./words.js";

export function drawDuty() {
  const shown = state.duty.filter((group) => group.people.length);
  const empty = state.duty.filter((group) => !group.people.length);
  document.getElementById("duty").replaceChildren(h("ul", { class: "duty" }, ...[...shown, ...empty].map((group) => h("li", {},
    h("b", {}, group.name), " ",
    h("span", { class: group.people.length ? "" : "bad" }, group.people.map((one) => one.name).join("、") || word("nobody")),
    group.until ? h("small", {}, ` ${word("until", { t: time(group.until) })}`) : null))));
}

export function drawQuiet() {
  const box = document.getElementById("quiet");
  if (!state.quiet.length) { box.replaceChildren(h("p", { class: "quiet" }, word("no_quiet"))); return; }
  box.replaceChildren(h("ul", { class: "duty" }, ...state.quiet.map((one) => {
    const what = Object.values(one.matcher).flat().join(" · ");
    const may = ["oncall", "admin"].includes(state.me.role);
    const lift = h("button", { type: "button", onclick: (event) => act({ do: "lift", lifts: one.id }).catch(() => { event.target.textContent = word("not_yours"); }) }, word("lift"));
    return h("li", {}, h("b", {}, what), ` ${word("until", { t: `${day(one.until)} ${time(one.until)}` })} · ${person(one.by)}：${one.text || ""} `, may ? lift : null);
  })));
}

export async function drawFigures() {
  const box = document.getElementById("figures");
  let rows;
  try { rows = await get("/api/figures"); } catch { return; }
  if (!rows.length) { box.replaceChildren(h("p", { class: "quiet" }, word("no_figures"))); return; }
  const pair = (...times) => (times[0] === null ? "–" : times.map(span).join(" / "));
  const head = ["day", "district", "cases", "answered", "to_answer", "share", "to_close", "stars"];
  box.replaceChildren(h("table", {},
    h("thead", {}, h("tr", {}, ...head.map((key) => h("th", { scope: "col" }, word(key))))),
    h("tbody", {}, ...rows.map((row) => h("tr", {},
      h("td", {}, row.day.slice(5)), h("td", {}, district(row.district)), h("td", {}, String(row.cases)), h("td", {}, String(row.answered)),
      h("td", {}, pair(row.to_answer, row.to_answer_p90)), h("td", {}, `${Math.round((100 * row.closed) / row.cases)} %`), h("td", {}, pair(row.to_close, row.to_close_p90)),
      h("td", {}, row.satisfaction === null ? "–" : `${Number(row.satisfaction.toFixed(1))}★ (${row.asked})`))))));
}
