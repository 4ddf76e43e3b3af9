// Who is on call, what is silenced, and the figures of 有呼必应.

import { act, get, state } from "./server.js";
import { district, h, person, short, time, day, word } from "./words.js";

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
  const pair = (...times) => (times[0] === null ? "–" : times.map(short).join(" / "));
  const head = ["district", "of_cases", "to_answer", "share", "to_close", "stars"];
  const days = [...new Set(rows.map((row) => row.day))];
  box.replaceChildren(
    h("table", {},
      h("thead", {}, h("tr", {}, ...head.map((key) => h("th", { scope: "col" }, word(key))))),
      ...days.map((of) => h("tbody", {},
        h("tr", {}, h("th", { scope: "rowgroup", colspan: head.length, class: "day" }, of)),
        ...rows.filter((row) => row.day === of).map((row) => h("tr", {},
          h("th", { scope: "row" }, district(row.district)), h("td", {}, `${row.answered}/${row.cases}`),
          h("td", {}, pair(row.to_answer, row.to_answer_p90)), h("td", {}, `${Math.floor((100 * row.closed) / row.cases)} %`), h("td", {}, pair(row.to_close, row.to_close_p90)),
          h("td", {}, row.satisfaction === null ? "–" : `${Number(row.satisfaction.toFixed(1))}★ (${row.asked})`)))))),
    h("p", { class: "quiet" }, word("figures_say")));
}
