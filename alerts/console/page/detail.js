// One case (or a site without one): how it stands, what can be done about it, its readings, what happened.

import { drawReadings } from "./chart.js";
import { stateLine, tags } from "./list.js";
import { unlessPressed } from "./press.js";
import { act, get, lookUp, state } from "./server.js";
import { amount, badge, both, day, district, h, known, person, span, time, word } from "./words.js";

const OUTCOMES = ["helped", "no_help_needed", "false_alarm", "passed_on", "other"];
const box = document.getElementById("detail");
let shown = null; // { case } or { site }
let clean = () => {};
let form = null; // the form that is open, so that news does not close it
let came = null; // what had the focus before
let asked = 0;

export const shownCase = () => shown?.case;

export async function openCase(id) {
  const item = state.items.get(id);
  if (item?.state === "alert") return openSite(item.site);
  return show({ case: id });
}

export function openSite(site) {
  const found = [...state.items.values()].find((item) => item.site === site && item.state !== "closed" && item.state !== "alert");
  return show(found ? { case: found.id } : { site });
}

export function closeDetail() {
  clean();
  box.hidden = true;
  shown = null;
  document.body.classList.remove("detailed");
  came?.focus?.();
}

async function show(what) {
  if (!shown) came = document.activeElement;
  if (JSON.stringify(shown) !== JSON.stringify(what)) form = null;
  shown = what;
  await redraw(true);
}

export async function redraw(focus = false) {
  if (!shown) return;
  const ask = (asked += 1);
  const path = shown.case ? `/api/case?id=${encodeURIComponent(shown.case)}` : `/api/site?id=${encodeURIComponent(shown.site)}`;
  let found;
  try { found = await get(path); } catch (error) {
    if (focus && error.message === "404" && ask === asked) showNothing();
    else if (focus) closeDetail();
    return;
  }
  if (ask !== asked || !shown) return;
  if (focus) draw(found, true);
  else { news = found; unlessPressed(drawNews); }
}

let news = null;
const drawNews = () => { if (shown && news) draw(news, false); news = null; };

function draw(found, focus) {
  clean();
  const scrolled = box.scrollTop;
  const writing = form && box.contains(form) ? form : null;
  const had = box.contains(document.activeElement) ? document.activeElement : null;
  box.hidden = false;
  document.body.classList.add("detailed");
  const charts = h("div", { class: "charts" });
  box.replaceChildren(...head(found), ...(found.case ? doing(found, writing) : []), h("h3", {}, word("readings")), charts, ...others(found), ...timeline(found));
  clean = drawReadings(charts, found.series);
  box.scrollTop = focus ? 0 : scrolled;
  if (focus) document.getElementById("detail-title").focus();
  else if (had) (box.contains(had) ? had : document.getElementById(had.id) || document.getElementById("detail-title")).focus();
}

// The link of a message may be old, or have come to somebody who may not see the case.
function showNothing() {
  clean();
  shown = null;
  box.hidden = false;
  document.body.classList.add("detailed");
  const title = h("h2", { id: "detail-title", tabindex: "-1" }, word("not_found"));
  box.replaceChildren(h("div", { class: "top" }, title, h("button", { type: "button", class: "back", onclick: closeDetail }, `✕ ${word("back")}`)));
  title.focus();
}

function head({ case: item, site }) {
  const title = h("h2", { id: "detail-title", tabindex: "-1" }, item ? badge(item.level || item.highest) : "", ` ${item ? both(item.what) : site.name}`);
  const back = h("button", { type: "button", class: "back", onclick: closeDetail }, `✕ ${word("back")}`);
  const where = h("p", { class: "where" }, `${district(site.district)} · ${site.name} `, site.name === site.id ? "" : h("small", {}, site.id), site.capacity ? ` · ${word("capacity", { n: site.capacity })}` : "");
  if (!item) return [h("div", { class: "top" }, title, back), where];
  const values = ["value", "threshold"].map((field) => [field, amount(item, field)]).filter(([, text]) => text);
  return [
    h("div", { class: "top" }, title, back), where,
    h("p", { class: "state" }, h("b", {}, stateLine(item)), " ", tags(item), ` ${time(item.opened, true)} · ${word("waits", { s: span((item.closed || state.clock) - item.opened) })}`),
    item.due && item.state !== "closed" ? h("p", { class: "due" }, word("due", { t: time(item.due, true) })) : null,
    h("p", { class: "message" }, both(item.message)),
    values.length ? h("p", { class: "values" }, ...values.map(([field, text]) => h("span", {}, `${word(field)} `, h("b", {}, text)))) : null,
  ].filter(Boolean);
}

function doing({ case: item }, writing) {
  if (state.me.role === "viewer") return [];
  const said = h("p", { class: "said", role: "status" });
  const send = async (action, button) => {
    button.disabled = true;
    try { await act({ case: item.id, ...action }); said.textContent = word("sent"); form = null; panel.replaceChildren(); }
    catch (error) { said.textContent = word("refused", { why: word(error.message) }); said.classList.add("bad"); }
    button.disabled = false;
  };
  const panel = h("div", { class: "panel" });
  const toggle = (make) => {
    form = form?.dataset.name === make.name ? null : make(item, send);
    if (form) form.dataset.name = make.name;
    panel.replaceChildren(...(form ? [form] : []));
    form?.querySelector("textarea, select, input")?.focus();
  };
  if (writing) panel.append(writing);
  const resident = async (button) => {
    if (form?.dataset.name === "resident") { form = null; panel.replaceChildren(); return; }
    button.disabled = true;
    try {
      form = livesThere(await lookUp(item.id));
      form.dataset.name = "resident";
      panel.replaceChildren(form);
    } catch (error) { said.textContent = word("refused", { why: word(error.message) }); said.classList.add("bad"); }
    button.disabled = false;
  };
  const over = item.state === "closed";
  const button = (key, onclick, main) => h("button", { type: "button", id: `do-${key}`, class: main ? "main" : "", onclick }, word(key));
  return [
    h("div", { class: "doing" },
      over || item.state === "acknowledged" ? null : button("ack", (e) => send({ do: "ack" }, e.currentTarget), true),
      item.kind === "infrared" && ["carer", "admin"].includes(state.me.role) ? button("resident", (e) => resident(e.currentTarget)) : null,
      button("note", () => toggle(noteForm)),
      over ? null : button("escalate", (e) => send({ do: "escalate" }, e.currentTarget)),
      over ? null : button("close", () => toggle(closeForm), item.state === "acknowledged"),
      ["oncall", "admin"].includes(state.me.role) ? button("silence", () => toggle(silenceForm)) : null),
    panel, said,
  ];
}

function livesThere(home) {
  if (!home.resident) return h("div", { class: "resident" }, word("no_resident"));
  const phone = home.phone && h("a", { href: `tel:${home.phone.replace(/[^+0-9]/g, "")}` }, home.phone);
  const rows = [["resident_name", home.resident], ["address", home.address], ["phone", phone], ["remark", home.note]];
  const shown = rows.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, word(name)), h("dd", {}, value)]);
  return h("div", { class: "resident" }, h("dl", {}, ...shown), h("small", {}, word("looked_up")));
}

function noteForm(item, send) {
  const text = h("textarea", { name: "text", rows: "3", maxlength: "2000", required: true });
  return formOf([h("label", {}, word("text"), text)], (button) => send({ do: "note", text: text.value }, button));
}

function closeForm(item, send) {
  const outcome = h("select", { name: "outcome" }, ...OUTCOMES.map((one) => h("option", { value: one }, word(one))));
  const stars = ["", 5, 4, 3, 2, 1].map((n) => h("label", { class: "star" }, h("input", { type: "radio", name: "satisfaction", value: n, checked: n === "" }), n === "" ? word("unsaid") : `${n}★`));
  const text = h("textarea", { name: "text", rows: "2", maxlength: "2000" });
  return formOf([
    h("label", {}, word("outcome"), outcome), h("fieldset", {}, h("legend", {}, word("satisfaction")), ...stars), h("label", {}, word("text"), text),
  ], (button, made) => {
    const rating = made.elements.satisfaction.value;
    return send({ do: "close", outcome: outcome.value, ...(rating ? { satisfaction: Number(rating) } : {}), ...(text.value ? { text: text.value } : {}) }, button);
  });
}

function silenceForm(item, send) {
  const hours = h("select", { name: "hours" }, ...[1, 2, 4, 8, 24].map((n) => h("option", { value: n }, word("hours", { n }))));
  const text = h("textarea", { name: "text", rows: "2", maxlength: "2000", required: true });
  const fields = [h("p", {}, word("silence_says")), h("label", {}, word("lasts"), hours), h("label", {}, word("reason"), text)];
  return formOf(fields, (button) => send({
    do: "silence", case: undefined, text: text.value, matcher: { site: [item.site], rule: [item.rule] },
    from: state.clock, until: state.clock + Number(hours.value) * 3600000,
  }, button));
}

function formOf(fields, submit) {
  const button = h("button", { class: "main", type: "submit" }, word("save"));
  const made = h("form", {}, ...fields, button);
  made.addEventListener("submit", (event) => { event.preventDefault(); submit(button, made); });
  return made;
}

function others({ case: item, alerts }) {
  const rest = alerts.filter((alert) => alert.rule !== item?.rule);
  if (!rest.length) return [];
  return [h("h3", {}, word("also")), h("ul", { class: "also" }, ...rest.map((alert) => h("li", {}, badge(alert.level), ` ${both(alert.what)} ${amount(alert, "value")}`)))];
}

function timeline({ site, timeline: entries }) {
  if (!entries?.length) return [];
  let last = "";
  const groups = new Map(entries.filter((entry) => entry.what === "told").map((entry) => [entry.to, entry.group]));
  // a home's relatives are nobody's colleagues: what they are is shown, not who
  const name = (id) => (known(id) || !groups.has(id) ? person(id) : `${word(groups.get(id).replace(`-${site.id}`, ""))} ${id}`);
  const lines = together(entries).map((entry) => {
    const today = day(entry.at);
    const dated = today !== last ? `${today} ` : "";
    last = today;
    return h("li", { class: `${entry.what} ${entry.change || entry.status || ""}` }, h("time", {}, `${dated}${time(entry.at, true)}`), " ", line(entry, name));
  });
  return [h("h3", {}, word("timeline")), h("ol", { class: "timeline" }, ...lines)];
}

// Whoever was told the same at the same time is on one line; that somebody was reached is said by the receipts.
function together(entries) {
  const groups = [];
  const open = new Map();
  for (const entry of entries) {
    if (entry.change === "notified") continue;
    if (entry.what === "case") { open.clear(); groups.push(entry); continue; }
    const key = [entry.what, entry.status, entry.channel, Boolean(entry.within || entry.count), time(entry.at, true)].join(" ");
    if (open.has(key)) open.get(key).people.push(entry.to);
    else { const group = { ...entry, people: [entry.to] }; open.set(key, group); groups.push(group); }
  }
  return groups;
}

function line(entry, name) {
  const who = entry.people?.map(name).join(word("and"));
  if (entry.what === "told") return word(entry.within || entry.count ? "told_together" : "told", { who });
  if (entry.what === "receipt") return word({ delivered: "delivered", failed: "failed_to", gave_up: "gave_up" }[entry.status], { who, by: entry.channel });
  const said = entry.text ? `：“${entry.text}”` : "";
  const outcome = entry.change === "closed" && entry.outcome ? ` · ${word(entry.outcome)}${entry.satisfaction ? ` · ${entry.satisfaction}★` : ""}` : "";
  let why = both(entry.reason);
  if (entry.by) why = why.replace(entry.by, person(entry.by));
  return h("span", {}, h("b", {}, why), outcome, said);
}
