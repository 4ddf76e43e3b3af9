// Puts the parts together: what the server tells goes to the list, the map, the detail, the ears.

import { closeDetail, openCase, openSite, redraw, shownCase } from "./detail.js";
import { drawFilter, drawList, drawNews, drawWaits, ringing, setUpList } from "./list.js";
import { drawLegend, drawMap, drawMapSoon, placeOf, setCity, setUpMap, showOnMap } from "./map.js";
import { drawDuty, drawFigures, drawQuiet } from "./others.js";
import { connect, get, leave, listen, state } from "./server.js";
import { ring, soundOn, toggleSound } from "./sound.js";
import { LEVELS, badge, both, day, district, fill, h, language, levelName, setLanguage, setNames, setTimezone, span, time, word } from "./words.js";

const FIGURES_MS = 60000;
const RING_MS = 20000; // again and again, while a red case is unanswered
const at = (id) => document.getElementById(id);
const wall = new URLSearchParams(location.search).has("wall");
const linked = new URLSearchParams(location.search).get("case"); // from a message
let rung = 0;
let mapped = false;
let drawn = 0; // the edition of rules and catalogue that the map shows

document.body.classList.toggle("wall", wall);
setLanguage(language());
at("lang").addEventListener("click", () => { setLanguage(language() === "zh" ? "en" : "zh"); drawAll(); });
at("leave").addEventListener("click", leave);
at("sound").addEventListener("click", async () => { await toggleSound(); drawSound(); });
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !at("detail").hidden) closeDetail();
});
for (const tab of at("tabs").querySelectorAll("button")) tab.addEventListener("click", () => showPart(tab.dataset.part));
showPart("list-part");
setUpList(open);

async function open(id) {
  await openCase(id);
  showCaseOnMap(id);
}

function showCaseOnMap(id) {
  const place = placeOf(state.items.get(id)?.site);
  if (!matchMedia("(max-width: 900px)").matches) showOnMap(place);
}

function showPart(part) {
  closeDetail();
  document.body.dataset.part = part;
  for (const tab of at("tabs").querySelectorAll("button")) tab.setAttribute("aria-pressed", String(tab.dataset.part === part));
  if (part === "figures-part") drawFigures();
}

listen((news) => {
  if (news.all) start();
  if (news.connection || news.clock) drawTrouble();
  if (news.list) { drawNews(); drawCounts(); }
  if (news.map) drawMapSoon();
  if (news.duty) drawDuty();
  if (news.quiet) drawQuiet();
  if (news.items) {
    announce(news.items);
    if (news.items.some(({ item }) => item.id === shownCase())) redraw();
  }
  if (news.clock) {
    at("clock").textContent = `${day(state.clock)} ${time(state.clock, true)}`;
    drawWaits();
    if (ringing() && performance.now() - rung > RING_MS) { rung = performance.now(); ring(); }
  }
});

async function start() {
  setNames(state.me.names);
  setTimezone(state.me.timezone);
  drawAll();
  if (mapped) {
    if (drawn !== state.edition) { drawn = state.edition; setCity(await get("/api/city")); }
    drawMap(); redraw();
    return;
  }
  mapped = true;
  drawn = state.edition;
  if (linked) openCase(linked);
  if (state.me.missing.length) {
    at("no-map").hidden = false;
    at("no-map").textContent = word("no_map", { what: state.me.missing.join(", ") });
  } else await setUpMap(await get("/api/city"), openSite);
  if (linked) showCaseOnMap(linked);
  document.body.dataset.ready = "yes";
}

function drawAll() {
  fill();
  document.title = word("title");
  at("lang").textContent = language() === "zh" ? "EN" : "中";
  at("lang").setAttribute("aria-label", language() === "zh" ? "English" : "中文");
  at("tabs").setAttribute("aria-label", word("title"));
  drawSound(); drawFilter(); drawList(true); drawCounts(); drawMap(); drawLegend(); drawDuty(); drawQuiet(); drawTrouble(); redraw();
  drawFigures();
}

function drawCounts() {
  const open = [...state.items.values()].filter((item) => item.state !== "closed");
  at("counts").replaceChildren(...[4, 3, 2, 1].map((level) => {
    const of = open.filter((item) => (item.level || item.highest) === level);
    const unanswered = of.filter((item) => item.state !== "acknowledged").length;
    return h("li", { class: `level-${level}`, title: `${levelName(level)}: ${unanswered} / ${of.length}` }, badge(level), h("b", {}, String(unanswered)), h("small", {}, `/${of.length}`));
  }));
}

function drawSound() {
  const on = soundOn();
  at("sound").textContent = word(on ? "sound_on" : "sound_off");
  at("sound").setAttribute("aria-pressed", String(on));
  at("hint").hidden = on;
  at("hint").textContent = word("sound_hint");
}

function drawTrouble() {
  const stopped = state.still > 90;
  at("trouble").hidden = state.connected ? !stopped : state.clock === 0;
  const text = !state.connected ? word("cut_off", { t: time(state.clock, true) }) : word("still", { s: span(state.still * 1000) });
  if (!at("trouble").hidden && at("trouble").textContent !== text) at("trouble").textContent = text;
  document.body.classList.toggle("cut-off", !state.connected);
}

// For screen readers, and the ring for red: each case once when it is new or goes up.
function announce(changes) {
  const risen = changes.filter(({ item, before }) => item.state !== "closed" && (!before || before.highest < item.highest));
  const closed = changes.filter(({ item, before }) => item.state === "closed" && before && before.state !== "closed");
  const say = ({ item }) => `${levelName(item.level || item.highest)} ${district(item.district)} ${item.name} ${both(item.what)}`;
  const red = risen.filter(({ item }) => item.highest === LEVELS.length - 1 && item.state !== "alert");
  if (red.length) { at("urgent").textContent = word("new_case") + red.slice(0, 3).map(say).join("; "); rung = performance.now(); ring(); }
  else if (risen.length || closed.length) {
    const first = risen.length ? ["new_case", risen] : ["now_closed", closed];
    at("polite").textContent = word(first[0]) + first[1].slice(0, 3).map(say).join("; ");
  }
}

setInterval(() => { if (state.me) drawFigures(); }, FIGURES_MS);
connect();
