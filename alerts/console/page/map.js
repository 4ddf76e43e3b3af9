// One map: districts, sites by level, catchments by waterlogging risk, venues, course segments, homes as numbers.
// What is normal is small and grey; what has a level is drawn on top as shape and letter, near ones of it as one.

import { state } from "./server.js";
import { LEVELS, district, language, levelName, word } from "./words.js";

const HOUSE = "path://M2 12 L12 2 L22 12 L19 12 L19 22 L5 22 L5 12 Z";
const NEAR = 30; // px within which sites with a level are drawn as one
const CORE = [113.31, 23.115];
const CORE_ZOOM = 4;
const CLOSEST = 60;
const WIDE = 650; // px: from here on there is room for a big corner with the whole city
let chart = null;
let chosen = null; // the place of the case that is open
let city = { sites: [], communities: [] };
let centres = [];
let drawing = 0;
let soon = 0;
const SOON_MS = 500;

export async function setUpMap(known, openSite) {
  city = known;
  const element = document.getElementById("map");
  const outlines = await (await fetch("/files/districts.geojson")).json();
  centres = outlines.features.map((f) => ({ name: f.properties.name, value: f.properties.cp }));
  echarts.registerMap("city", outlines);
  const draw = () => {
    if (!element.clientWidth) return; // on a phone another part is shown: a map of no size cannot be drawn
    if (chart) chart.resize(); else begin(element, openSite);
    drawMap();
  };
  new ResizeObserver(draw).observe(element);
  const steps = { "zoom-in": [null, 1.6], "zoom-out": [null, 1 / 1.6], "zoom-core": [CORE, 0], "zoom-all": [null, 0] };
  for (const [id, [centre, factor]] of Object.entries(steps)) {
    document.getElementById(id).addEventListener("click", () => (factor ? zoomTo(centre, factor) : look(centre)));
  }
  draw();
}

// Other sites than before, or other names of them.
export function setCity(known) {
  city = known;
  drawMap();
}

function begin(element, openSite) {
  chart = echarts.init(element, null, { renderer: "canvas" });
  chart.setOption(frame());
  chart.on("click", (event) => {
    const closest = (chart.getOption().geo[0].zoom || 1) >= CLOSEST; // some stand at one point
    if (event.data?.near > 1 && !closest) zoomTo(event.data.value, 2.5);
    else if (event.data?.site) { chosen = placeOf(event.data.site); openSite(event.data.site); drawMap(); }
  });
  chart.on("georoam", () => drawMap());
}

function frame() {
  const wide = document.getElementById("map").clientWidth > WIDE;
  const geo = {
    center: CORE, zoom: wide ? CORE_ZOOM * 0.8 : CORE_ZOOM,
    map: "city", roam: true, scaleLimit: { min: 0.8, max: CLOSEST }, aspectScale: 0.92, layoutCenter: ["50%", "50%"], layoutSize: "98%",
    itemStyle: { areaColor: "#1a2734", borderColor: "#4a6378", borderWidth: 1 },
    emphasis: { disabled: true }, label: { show: false }, silent: true,
  };
  const corner = { ...geo, center: null, roam: false, zoom: 1, layoutCenter: undefined, layoutSize: undefined, left: 12, top: 12, width: wide ? 140 : 84, height: wide ? 184 : 110, z: 30, itemStyle: { areaColor: "#101a24", borderColor: "#8fa6b8", borderWidth: 1 } };
  const graphic = [{ type: "rect", left: 4, top: 4, z: 29, silent: true, shape: { width: wide ? 156 : 100, height: wide ? 200 : 126, r: 6 }, style: { fill: "#0b1118", stroke: "#4a6378" } }];
  return { animation: false, geo: [geo, corner], graphic, tooltip: { renderMode: "richText", confine: true, backgroundColor: "#0b1118", borderColor: "#9fb3c4", textStyle: { color: "#fff", fontSize: 15 } } };
}

function zoomTo(centre, factor) {
  const geo = chart.getOption().geo[0];
  chart.setOption({ geo: [{ zoom: Math.min(CLOSEST, Math.max(0.8, (geo.zoom || 1) * factor)), ...(centre ? { center: centre } : {}) }] });
  drawMap();
}

// The old town and what is around it, or the whole city.
function look(centre) {
  chart.setOption({ geo: [{ zoom: centre ? CORE_ZOOM : 1, center: centre }] });
  drawMap();
}

export function showOnMap(at) {
  chosen = at;
  if (!chart || !at) return;
  const zoom = Math.max(6, chart.getOption().geo[0].zoom || 1);
  chart.setOption({ geo: [{ zoom, center: at }] });
  drawMap();
}

export const placeOf = (id) => city.sites.find((site) => site.id === id)?.at;

// What is pushed waits a little, and is drawn together: drawing takes long, and the list comes first.
export function drawMapSoon() {
  soon ||= setTimeout(() => { soon = 0; drawMap(); }, SOON_MS);
}

export function drawMap() {
  if (!chart || drawing) return;
  drawing = requestAnimationFrame(() => { drawing = 0; chart.setOption({ series: series() }); });
}

function series() {
  const wall = document.body.classList.contains("wall");
  const big = wall ? 1.5 : 1;
  const full = new Map([...state.items.values()].filter((item) => item.type === "occupancy" && item.level).map((item) => [item.site, item.value]));
  const normal = [], catchments = [], venues = [], segments = [], raised = [];
  for (const site of city.sites) {
    const level = state.levels.get(site.id) || 0;
    if (site.shape === "segment") {
      segments.push({ coords: site.line, site: site.id, name: site.name, level, lineStyle: { color: level ? LEVELS[level].colour : "#8fa6b8", width: level ? 7 : 3, type: level ? "solid" : "dotted" } });
      if (level) raised.push({ ...site, level, at: middle(site.line) });
    } else if (site.shape === "catchment") {
      if (level) catchments.push({ value: site.at, name: site.name, site: site.id, level, itemStyle: { color: LEVELS[level].colour, opacity: 0.3, borderColor: LEVELS[level].colour, borderWidth: 2 } });
      if (level) raised.push({ ...site, level });
    } else if (site.shape === "venue") {
      const people = full.has(site.id) ? ` ${Math.round(100 * full.get(site.id))} %` : "";
      venues.push({ value: site.at, name: `${site.name}${people}`, site: site.id, level });
      if (level) raised.push({ ...site, level });
    } else if (level) raised.push({ ...site, level });
    else normal.push(site.at);
  }
  const zoom = chart.getOption().geo[0].zoom || 1;
  const outlined = { textBorderColor: "#0b1118", textBorderWidth: 4 };
  const common = { type: "scatter", coordinateSystem: "geo", geoIndex: 0 };
  const gathered = gather(raised, NEAR * big);
  return [
    { ...common, id: "normal", data: normal, large: true, largeThreshold: 200, symbolSize: zoom > 4 ? 5 : 2.5, itemStyle: { color: LEVELS[0].colour, opacity: 0.7 }, silent: true, z: 2 },
    { ...common, id: "catchments", data: catchments, symbol: "circle", symbolSize: Math.min(80, 14 * zoom ** 0.75), z: 3, tooltip: tip("catchment") },
    { id: "segments", type: "lines", coordinateSystem: "geo", geoIndex: 0, data: segments, z: 3, tooltip: tip("segment") },
    {
      ...common, id: "venues", data: venues, symbol: "roundRect", symbolSize: 11, z: 4, tooltip: tip("venue"),
      itemStyle: { color: "#d5e3ee", borderColor: "#0b1118", borderWidth: 1 },
      label: { show: zoom > 2.5, formatter: "{b}", position: "bottom", color: "#d5e3ee", fontSize: 13 * big, ...outlined },
      labelLayout: { hideOverlap: true },
    },
    { ...common, id: "homes", data: communities(zoom, big, outlined), symbol: HOUSE, z: 5, tooltip: { formatter: (p) => p.data.tip } },
    ...[1, 2, 3, 4].map((level) => ({
      ...common, id: `level-${level}`, z: 5 + level, symbol: LEVELS[level].symbol, tooltip: tip("gauge"),
      data: gathered.filter((one) => one.level === level).map((one) => mark(one, level, big)),
      itemStyle: { color: LEVELS[level].colour, borderColor: "#0b1118", borderWidth: 1.5, opacity: 1 },
    })),
    {
      ...common, id: "chosen", silent: true, z: 3, symbol: "circle", symbolSize: 40 * big, data: chosen && document.body.classList.contains("detailed") ? [chosen] : [],
      itemStyle: { color: "transparent", borderColor: "#fff", borderWidth: 3 },
    },
    ...[1, 2, 3, 4].map((level) => ({
      type: "scatter", coordinateSystem: "geo", geoIndex: 1, id: `corner-${level}`, z: 30 + level, silent: true, symbol: LEVELS[level].symbol, symbolSize: 4 + level,
      data: raised.filter((one) => one.level === level).map((one) => one.at), itemStyle: { color: LEVELS[level].colour, opacity: 1, borderColor: "#0b1118", borderWidth: 0.5 },
    })),
    {
      ...common, id: "districts", data: centres.map((c) => ({ ...c, district: c.name })), symbolSize: 0.1, silent: true, z: 4,
      label: { show: true, formatter: (p) => district(p.data.district), color: "#f2f7fb", fontSize: 14 * big, fontWeight: "bold", ...outlined },
      labelLayout: { hideOverlap: true, moveOverlap: "shiftY" },
    },
  ];
}

const middle = ([a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];

function mark(one, level, big) {
  const size = (14 + 2 * level + (one.near > 1 ? 1 + 4 * String(one.near).length : 0)) * big;
  return {
    value: one.at, name: one.name, site: one.id, level, near: one.near, symbolSize: size,
    label: {
      show: true, formatter: one.near > 1 ? `${LEVELS[level].letter}${one.near}` : LEVELS[level].letter,
      color: LEVELS[level].ink, fontWeight: "bold", textBorderColor: LEVELS[level].colour, textBorderWidth: 3, fontSize: (one.near > 1 ? 11 : 12) * big, offset: level === 2 ? [0, 3] : [0, 0],
    },
  };
}

// Sites of any level that are near each other on the screen become one, of the highest level, with their number.
function gather(raised, within) {
  const kept = [];
  for (const one of [...raised].sort((a, b) => b.level - a.level)) {
    const [x, y] = chart.convertToPixel({ geoIndex: 0 }, one.at) || [0, 0];
    const near = kept.find((other) => Math.abs(other.x - x) < within && Math.abs(other.y - y) < within);
    if (near) near.near += 1;
    else kept.push({ ...one, x, y, near: 1 });
  }
  return kept;
}

function communities(zoom, big, outlined) {
  return city.communities.map(({ zone, homes, at, district: of }) => {
    const counts = state.homes[zone] || [0, 0, 0, 0];
    const n = counts.reduce((a, b) => a + b, 0);
    const level = counts.reduce((worst, count, i) => (count ? i + 1 : worst), 0);
    const letter = level ? `${LEVELS[level].mark}${LEVELS[level].letter}${n}` : "";
    return {
      value: at, name: zone, symbolSize: (level ? 18 : 9) * big, tip: `${district(of)}\n${word("homes_at", { zone, homes, n })}`,
      itemStyle: { color: level ? LEVELS[level].colour : "#7f97a8", borderColor: "#0b1118", borderWidth: 1, opacity: level ? 1 : 0.7 },
      label: { show: level > 0 && (zoom > 1.5 || level > 2), formatter: letter, position: "right", color: "#f2f7fb", fontSize: 12 * big, fontWeight: "bold", ...outlined },
      z: level,
    };
  });
}

function tip(key) {
  return { formatter: ({ data }) => `${data.name}${data.near > 1 ? ` +${data.near - 1}` : ""}\n${word(key)} · ${data.level ? `${LEVELS[data.level].mark} ${levelName(data.level)}` : word("normal")}` };
}

export function drawLegend() {
  const legend = document.getElementById("legend");
  legend.replaceChildren(...LEVELS.slice(1).reverse().map((level) => {
    const item = document.createElement("span");
    item.className = `badge level-${LEVELS.indexOf(level)}`;
    item.textContent = `${level.mark} ${level.letter} ${level[language()]}`;
    return item;
  }), ...[["◯", "catchment"], ["▢", "venue"], ["⋯", "segment"], ["⌂", "community"]].map(([sign, key]) => {
    const item = document.createElement("span");
    item.textContent = `${sign} ${word(key)}`;
    return item;
  }));
  document.getElementById("map").setAttribute("aria-label", word("map"));
  for (const id of ["zoom-in", "zoom-out", "zoom-core", "zoom-all"]) document.getElementById(id).setAttribute("aria-label", word(id.replace("-", "_")));
}
