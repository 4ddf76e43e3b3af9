// The last readings of one sensor against the thresholds of its rules.

import { LEVELS, h, levelName, time, word } from "./words.js";

const BARS = ["rain", "in", "out"];
const MOMENTS = ["motion", "button"];
const ALONE_MS = 600000;
const ROOM = 600; // px of charts at first: a station has a dozen counters, and what happened stands below them
let all = false;

export function drawReadings(box, series) {
  const drawn = series.filter((one) => !MOMENTS.includes(one.quantity) || one.points.some(([, value]) => value));
  if (!drawn.length || !window.echarts) { box.append(h("p", { class: "quiet" }, word("no_readings"))); return () => {}; }
  const charts = [];
  const draw = (into, one) => {
    const last = one.points[one.points.length - 1];
    const summed = one.window ? ` · ${word("sum", { n: Number((one.window / 60).toFixed(2)) })}` : "";
    const name = `${one.name} · ${word(one.quantity === "rain" ? "rain_mm" : one.quantity)}${summed}`;
    const place = h("div", { class: low(one) ? "chart low" : "chart", role: "img", "aria-label": `${name}: ${last[1]} (${time(last[0])})` });
    into.append(h("figure", {}, h("figcaption", {}, name, h("b", {}, ` ${last[1]}`), ` ${time(last[0])}`), place));
    const chart = echarts.init(place);
    chart.setOption(option(one));
    charts.push(chart);
  };
  let room = ROOM;
  const first = drawn.filter((one, i) => { room -= low(one) ? 64 : 190; return room >= 0 || i === 0; });
  for (const one of first) draw(box, one);
  const rest = drawn.slice(first.length);
  if (rest.length) {
    const more = h("details", { open: all }, h("summary", {}, word("more_readings", { n: rest.length })));
    const drawRest = () => { all = more.open; if (more.open && more.children.length === 1) for (const one of rest) draw(more, one); };
    more.addEventListener("toggle", drawRest);
    box.append(more);
    drawRest();
  }
  return () => charts.forEach((chart) => chart.dispose());
}

const low = (one) => MOMENTS.includes(one.quantity);

function option(one) {
  const lines = Object.entries(one.thresholds).map(([level, value]) => ({
    yAxis: value, lineStyle: { color: LEVELS[level].colour, width: 2, type: "dashed" },
    label: { formatter: `${LEVELS[level].mark} ${levelName(level)} ${value}`, color: LEVELS[level].colour, position: "insideStartTop", fontSize: 13, textBorderColor: "#0b1118", textBorderWidth: 3 },
  }));
  const moments = MOMENTS.includes(one.quantity);
  const points = moments ? one.points.filter(([, value]) => value).map(([at]) => [at, 1]) : one.points;
  const first = one.points[0][0], last = one.points[one.points.length - 1][0];
  const around = last - first < ALONE_MS ? ALONE_MS : 0; // a reading alone would stand on an axis of two days
  const values = [...one.points.map(([, value]) => value), ...Object.values(one.thresholds)];
  const highest = Math.max(0, ...values);
  const lowest = one.quantity === "present" ? Number((0.9 * Math.min(...values)).toPrecision(2)) : undefined; // near its thresholds
  return {
    animation: false, grid: { left: moments ? 8 : 44, right: 12, top: 10, bottom: 24 },
    xAxis: { type: "time", min: first - around, max: last + around, axisLabel: { color: "#c9d6e0", formatter: (at) => time(at), hideOverlap: true }, splitNumber: 4 },
    yAxis: { type: "value", show: !moments, min: lowest, max: moments ? 1 : Number((highest * 1.15).toPrecision(2)) || 1, axisLabel: { color: "#c9d6e0" }, splitLine: { lineStyle: { color: "#2b3b4a" } } },
    series: [{
      type: moments ? "scatter" : BARS.includes(one.quantity) && !one.window ? "bar" : "line", data: points, symbol: moments ? "rect" : "none", symbolSize: [3, 24],
      barMinWidth: 1, barMaxWidth: 8, itemStyle: { color: "#8fd0ff" }, lineStyle: { color: "#8fd0ff", width: 3 },
      markLine: lines.length ? { silent: true, symbol: "none", data: lines } : undefined,
    }],
  };
}
