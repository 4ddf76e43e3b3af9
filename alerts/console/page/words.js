// Everything that is read on the page, in Chinese and English, and how levels, times and people are written.

const WORDS = {
  title: ["木棉 · 城市运行预警", "kapok · city alerts"],
  to_list: ["跳到警情列表", "Skip to the list of cases"],
  list: ["警情", "Cases"],
  map: ["全市一张图", "Map of the city"],
  duty: ["现在值班", "On call now"],
  quiet: ["静默与检修", "Silences and maintenance"],
  figures: ["有呼必应：橙色和红色警情", "Every call answered: orange and red cases"],
  tab_list: ["警情", "Cases"], tab_map: ["地图", "Map"], tab_duty: ["值班", "On call"], tab_figures: ["统计", "Figures"],
  leave: ["退出", "Log out"], name: ["用户名", "Name"], password: ["密码", "Password"], enter: ["登录", "Log in"],
  wrong: ["用户名或密码不对", "Wrong name or password"],
  wait: ["尝试次数过多，请在 {s} 秒后再试", "Too many attempts; try again in {s} s"],
  failed: ["没有连上服务器", "The server was not reached"],
  sound_on: ["♪ 声音：开", "♪ Sound: on"], sound_off: ["♪ 声音：关", "♪ Sound: off"],
  sound_hint: [
    "红色警情会响铃，但浏览器要求先点一下：请按“声音：关”打开。",
    "Red cases ring, but browsers want a click first: press “Sound: off” to turn it on.",
  ],
  cut_off: ["与服务器断开，下面是 {t} 的情况，可能已经过时！正在重连…", "Cut off: this is how things were at {t}, and may be out of date! Reconnecting…"],
  still: ["数据时钟已停 {s}：预警可能没有更新，请通知运维", "The data's clock has stood still for {s}: alerts may not be up to date; tell operations"],
  not_found: ["此案件不存在、已过期，或您无权查看", "There is no such case (any more), or it is not one for you"],
  none: ["目前没有警情", "No cases at the moment"],
  more: ["另有 {n} 条，可按类别筛选", "{n} more; filter by kind"],
  all: ["全部", "All"], flood: ["内涝", "Flood"], rain: ["降雨", "Rain"], infrared: ["独居老人", "Homes"], crowd: ["客流", "Crowds"],
  open: ["未送达", "not yet told"], notified: ["未应答", "unanswered"], acknowledged: ["已应答", "answered"],
  closed: ["已结案", "closed"], alert: ["未立案", "no case yet"], resolved: ["已解除", "over"], no_data: ["无数据", "no data"],
  exercise: ["演练", "exercise"], unwatched: ["无法看护", "unwatched"], flapping: ["反复波动", "flapping"],
  silenced: ["已静默", "silenced"], waits: ["已等 {s}", "for {s}"], answered_by: ["{who} 应答", "answered by {who}"],
  closed_by: ["{who} 结案", "closed by {who}"], closed_itself: ["自动结案", "closed by itself"],
  due: ["{t} 无人应答即通知下一批", "if nobody answers, the next are told at {t}"],
  resident: ["住户信息", "Who lives there"], resident_name: ["住户", "Name"], address: ["住址", "Address"], phone: ["电话", "Phone"], remark: ["备注", "Note"],
  looked_up: ["此次查看已记录：谁、何时、因哪个案件。", "It is on record who looked this up, when, and for which case."],
  no_resident: ["名册里没有此户；此次查看已记录。", "The directory has no such home; the look-up is on record."],
  not_shown: ["查看无法记录，因此不显示", "the look-up cannot be written down, so nothing is shown"],
  ack: ["应答", "Acknowledge"], note: ["备注", "Note"], escalate: ["上报下一级", "Tell the next"], close: ["结案", "Close"],
  silence: ["静默此点", "Silence this site"], lift: ["解除", "Lift"], save: ["提交", "Send"], back: ["返回", "Back"],
  outcome: ["处置结果", "Outcome"], satisfaction: ["满意度（对方所说）", "Satisfaction, as the caller told"],
  helped: ["已提供帮助", "helped"], no_help_needed: ["无需帮助", "no help was needed"], false_alarm: ["误报", "false alarm"],
  passed_on: ["已转交", "passed on"], other: ["其他", "other"], unsaid: ["未问", "not asked"],
  reason: ["原因", "Why"], lasts: ["多久", "For how long"], hours: ["{n} 小时", "{n} h"], text: ["写几句", "In your own words"],
  silence_says: ["静默期间此点的新警情不通知任何人（仍会记录）；红色警情和呼救照常通知。", "While it is silenced nobody is told of new cases here (they are on record); red ones and calls for help are told all the same."],
  sent: ["已提交，等待记录", "Sent; it shows when it is on record"],
  refused: ["没有成功：{why}", "Not done: {why}"],
  not_yours: ["这不在您的职责范围内", "this is not yours to do"], try_again: ["没有写入，请再试，或打电话", "it was not written down: try again, or telephone"],
  invalid: ["内容不完整或不正确", "something is missing or wrong"],
  readings: ["最近读数", "Last readings"], more_readings: ["另 {n} 条曲线", "{n} more charts"], no_readings: ["没有最近的读数", "No recent readings"], timeline: ["经过", "What happened"],
  also: ["此处其他预警", "Other alerts here"], value: ["预警时读数", "reading then"], threshold: ["阈值", "threshold"],
  told: ["通知 {who}", "telling {who}"], told_together: ["通知 {who}（与同时失联的传感器合为一条）", "telling {who} (in one message with other silent sensors)"], and: ["、", ", "], delivered: ["已送达 {who}（{by}）", "{who} was reached ({by})"],
  failed_to: ["未送达 {who}（{by}），再试", "{who} not reached ({by}), again"], gave_up: ["无法送达 {who}", "{who} cannot be reached"],
  nobody: ["无人", "nobody"], until: ["至 {t}", "until {t}"], no_quiet: ["没有", "None"], no_figures: ["近七天没有橙色、红色警情", "No orange or red case in seven days"],
  district: ["区", "District"], of_cases: ["应答/警情", "Answered / cases"], share: ["结案率", "Closed"],
  to_answer: ["应答用时", "To answer"], to_close: ["结案用时", "To close"], relatives: ["家属", "relatives"],
  stars: ["满意度", "Rated"], figures_say: ["用时：中位数 / 九成在此之内，时:分。满意度：平均（人数）。", "Times: median / nine of ten, h:min. Rated: satisfaction, mean (how many said)."], homes: ["户", "homes"], homes_at: ["社区 {zone}：{homes} 户，预警 {n} 户", "Community {zone}: {homes} homes, {n} with alerts"],
  no_map: ["没有地图和曲线：安装时未能取得 {what}。联网后运行 uv sync --reinstall-package kapok", "No map and no charts: {what} could not be fetched when kapok was installed. With a network: uv sync --reinstall-package kapok"],
  catchment: ["排水片区内涝风险", "catchment: waterlogging risk"], gauge: ["监测点", "sensor"], venue: ["场所客流", "venue"], segment: ["马拉松路段", "course segment"],
  community: ["独居老人（只显示户数）", "homes (numbers only)"], normal: ["正常", "normal"],
  new_case: ["新警情：", "New case: "], now_closed: ["已结案：", "Closed: "], in: ["进入", "in"], out: ["离开", "out"], count: ["在场", "people there"],
  depth: ["积水 m", "water m"], rain_mm: ["降雨 mm", "rain mm"], sum: ["{n} 小时累计", "sum of {n} h"], present: ["在场人数（按进出推算）", "people there, reckoned from in and out"], motion: ["活动", "motion"], button: ["按钮", "button"],
  zoom_in: ["放大", "Zoom in"], zoom_out: ["缩小", "Zoom out"], zoom_all: ["全市", "Whole city"], zoom_core: ["中心城区", "City centre"], group: ["片区红色内涝", "red catchment"], capacity: ["容量 {n} 人", "capacity {n}"],
  case_of: ["看警情", "See the case"],
};

// shape, letter and text: levels are told apart without colour
export const LEVELS = [
  { mark: "✓", letter: "", zh: "正常", en: "normal", symbol: "circle", colour: "#5f7d8f", ink: "#0b0f14" },
  { mark: "●", letter: "B", zh: "蓝色", en: "Blue", symbol: "circle", colour: "#5aa2ff", ink: "#04101f" },
  { mark: "▲", letter: "Y", zh: "黄色", en: "Yellow", symbol: "triangle", colour: "#ffd93b", ink: "#1c1500" },
  { mark: "◆", letter: "O", zh: "橙色", en: "Orange", symbol: "diamond", colour: "#ff9a2e", ink: "#1f0f00" },
  { mark: "■", letter: "R", zh: "红色", en: "Red", symbol: "rect", colour: "#ff4b4b", ink: "#1a0000" },
];

const DISTRICTS = {
  天河区: "Tianhe", 越秀区: "Yuexiu", 海珠区: "Haizhu", 荔湾区: "Liwan", 白云区: "Baiyun", 黄埔区: "Huangpu",
  番禺区: "Panyu", 花都区: "Huadu", 南沙区: "Nansha", 从化区: "Conghua", 增城区: "Zengcheng",
};

let lang = localStorage.getItem("lang") || (navigator.language.startsWith("zh") ? "zh" : "en");
let timezone = "Asia/Shanghai";
let names = {};

export const language = () => lang;
export function setLanguage(next) { lang = next; localStorage.setItem("lang", next); document.documentElement.lang = next; }
export function setTimezone(zone) { timezone = zone; }
export function setNames(known) { names = known; }

export function word(key, values = {}) {
  const pair = WORDS[key];
  if (!pair) return key;
  return pair[lang === "zh" ? 0 : 1].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export const both = (texts) => (texts && typeof texts === "object" ? texts[lang] || texts.zh : texts || "");
export const levelName = (level) => LEVELS[level][lang];
export const district = (name) => (lang === "zh" ? name : DISTRICTS[name] || name);
export const person = (id) => names[id] || id;
export const known = (id) => id in names;

export function time(ms, seconds = false) {
  const options = { timeZone: timezone, hour: "2-digit", minute: "2-digit", hour12: false };
  if (seconds) options.second = "2-digit";
  return new Intl.DateTimeFormat("en-GB", options).format(ms);
}

export function day(ms) {
  return new Intl.DateTimeFormat("sv-SE", { timeZone: timezone, dateStyle: "short" }).format(ms);
}

export function span(ms) {
  const minutes = Math.max(0, Math.floor(ms / 60000));
  if (minutes < 1) return lang === "zh" ? `${Math.max(0, Math.floor(ms / 1000))} 秒` : `${Math.max(0, Math.floor(ms / 1000))} s`;
  if (minutes < 60) return lang === "zh" ? `${minutes} 分` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return lang === "zh" ? `${hours} 小时 ${minutes % 60} 分` : `${hours} h ${minutes % 60} min`;
  return lang === "zh" ? `${Math.floor(hours / 24)} 天` : `${Math.floor(hours / 24)} d`;
}

// Hours and minutes, for tables.
export function short(ms) {
  const minutes = Math.round(ms / 60000);
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}`;
}

export function amount(item, field) {
  const value = item[field];
  if (value === undefined || item.type === "press") return "";
  if (["dwell", "inactivity", "silence"].includes(item.type)) return span(value * 1000);
  if (item.type === "occupancy") return `${Math.round(value * 100)} %`;
  return `${Number(value.toFixed(3))} ${item.unit || ""}`.trim();
}

export function fill(root = document) {
  for (const element of root.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
}

// An element with attributes and children; strings become text, never markup.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function badge(level) {
  const { mark, letter } = LEVELS[level];
  return h("span", { class: `badge level-${level}` }, h("span", { class: "mark", "aria-hidden": "true" }, mark), letter, " ", h("span", { class: "name" }, levelName(level)));
}
