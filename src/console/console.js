"use strict";

// Every text goes through textContent: labels of alerts belong to whoever sends them.

const EVERY = 2000;
const LASTS = "60s";
const FAULTS = [
  ["errors", { error_rate: 1 }],
  ["slow", { latency: { fixed: "900ms" } }],
  ["hang", { hang_rate: 1 }],
  ["crash", { crash: true }],
];
const STATES = { closed: "good", half_open: "warn", open: "bad" };
const SEVERITIES = { critical: "bad", warning: "warn", info: "calm" };
const HEALTH = { healthy: "good", degraded: "warn", unhealthy: "bad" };

const $ = (id) => document.getElementById(id);
const token = $("token");
token.value = sessionStorage.getItem("token") ?? "";
token.addEventListener("change", () => sessionStorage.setItem("token", token.value));

function cell(text, kind) {
  const td = document.createElement("td");
  td.textContent = text;
  if (kind) td.className = kind;
  return td;
}

function button(text, title, act) {
  const it = document.createElement("button");
  it.textContent = text;
  it.title = title;
  it.addEventListener("click", act);
  return it;
}

function link(text, url) {
  const it = document.createElement("a");
  // Nothing but a web address: a label could be any other scheme.
  if (!/^https?:\/\//.test(url ?? "")) return null;
  it.href = url;
  it.rel = "noreferrer";
  it.textContent = text;
  return it;
}

function rows(id, list, empty) {
  const body = $(id).tBodies[0];
  const made = list.map((cells) => {
    const tr = document.createElement("tr");
    tr.append(...cells);
    return tr;
  });
  if (made.length === 0) {
    const td = cell(empty, "calm");
    td.colSpan = 9;
    const tr = document.createElement("tr");
    tr.append(td);
    made.push(tr);
  }
  body.replaceChildren(...made);
}

function span(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  return s < 120 ? `${s} s` : s < 7200 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
}

const percent = (ratio) => (ratio == null ? "–" : `${Math.round(ratio * 100)} %`);
const clock = (unix) => new Date(unix * 1000).toLocaleTimeString();
const since = (unix) => Date.now() / 1000 - unix;

async function read(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function change(method, path, body) {
  const headers = { "content-type": "application/json" };
  if (token.value) headers.authorization = `Bearer ${token.value}`;
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const said = answer.ok ? "" : ((await answer.json().catch(() => ({}))).detail ?? `${path}: ${answer.status}`);
  $("trouble").textContent = said;
  await refresh();
}

function about(labels) {
  const parts = [labels.service ?? labels.job, labels.breaker ?? labels.queue].filter(Boolean);
  return parts.join(" → ") || "–";
}

function alerts({ alerts, pipeline_alive_since_unix_seconds: alive }) {
  $("pipeline").textContent = alive == null
    ? "alert pipeline: no watchdog arrives"
    : `alert pipeline alive since ${clock(alive)}`;
  const known = alerts.filter((alert) => alert.name !== "Watchdog");
  const order = (alert) => (alert.status === "firing" ? 0 : 1);
  known.sort((a, b) => order(a) - order(b) || b.received_unix_seconds - a.received_unix_seconds);
  rows("alerts", known.slice(0, 40).map((alert) => {
    const began = Date.parse(alert.starts_at) / 1000;
    const ended = alert.ends_at ? Date.parse(alert.ends_at) / 1000 : null;
    const last = document.createElement("td");
    const links = [link("runbook", alert.annotations.runbook_url), link("dashboard", alert.annotations.dashboard_url)];
    links.filter(Boolean).forEach((it, at) => last.append(at ? " · " : "", it));
    const name = cell(alert.name);
    name.title = alert.annotations.description ?? "";
    const severity = alert.labels.severity ?? "–";
    return [
      name, cell(severity, SEVERITIES[severity]), cell(about(alert.labels)),
      cell(alert.status, alert.status === "firing" ? "bad" : "good"),
      cell(span(alert.received_unix_seconds - began)),
      cell(ended == null ? `${span(since(began))} so far` : span(ended - began)), last,
    ];
  }), "No alert has been delivered.");
}

function breakers({ breakers, status, unreachable = [] }) {
  health(status);
  $("unreachable").textContent = unreachable.map((own) => `${own.name} does not answer`).join(", ");
  $("unreachable").title = unreachable.map((own) => own.why).join("; ");
  const names = breakers.map((own) => `${own.service} → ${own.name}`);
  const twins = new Set(names.filter((name, at) => names.indexOf(name) !== at));
  rows("breakers", breakers.map((own, at) => {
    const path = `/breakers/${own.service}/${own.name}`;
    const command = (state) => () => change("PATCH", path, { state });
    const last = document.createElement("td");
    last.append(
      button("force open", "Reject every call until told otherwise", command("forced_open")),
      button("reset", "Close it and forget its window", command("reset")),
    );
    return [
      cell(twins.has(names[at]) ? `${names[at]} (${own.process ?? "here"})` : names[at]),
      cell(own.state, STATES[own.state] ?? "fault"),
      cell(own.state === "open" ? span(own.open_remaining_seconds) : "–"), cell(percent(own.failure_ratio)),
      cell(percent(own.health_score)), last,
    ];
  }), "No breaker in this process.");
}

function faults({ targets }) {
  rows("faults", targets.map((own) => {
    const path = `/faults/${own.target}`;
    const last = document.createElement("td");
    for (const [name, plan] of FAULTS) {
      last.append(button(name, JSON.stringify(plan), () => change("PUT", path, { ...plan, ttl: LASTS })));
    }
    last.append(button("mend", "Take its faults away", () => change("DELETE", path)));
    const kinds = own.active.map((kind) => kind.replaceAll("_", " ")).join(", ");
    return [cell(own.target), cell(kinds || "–", kinds && "fault"), cell(span(own.remaining_seconds)), last];
  }), "No target in this process.");
}

function transitions({ transitions }) {
  rows("transitions", transitions.slice(-15).reverse().map((own) => [
    cell(clock(own.unix_seconds)), cell(`${own.service} → ${own.breaker}`), cell(own.from, STATES[own.from]),
    cell(own.to, STATES[own.to]), cell(own.reason.replaceAll("_", " ")),
    cell(`${own.failures} of ${own.calls} failed, ${own.slow_calls} slow`),
  ]), "No breaker has moved.");
}

function scenario(own) {
  const now = own.active.length ? own.active.join(", ") : "nothing broken by it";
  $("scenario").textContent =
    `${own.name}: ${own.mode}, ${span(own.position_seconds)} of ${span(own.length_seconds)}; ${now}`;
  const commands = own.mode === "running" ? ["pause", "stop"] : ["start", "stop"];
  const made = commands.map((command) => button(command, "", () => change("POST", `/scenario/${command}`)));
  $("scenario-buttons").replaceChildren(...made);
}

function health(status) {
  $("health").textContent = status;
  $("health").className = `pill ${HEALTH[status] ?? ""}`;
}

// Where services run apart, the port that is asked speaks for all of them.
const PARTS = [["/alerts", alerts], ["/breakers?everywhere=true", breakers], ["/faults?everywhere=true", faults],
  ["/transitions?everywhere=true", transitions], ["/scenario", scenario]];

async function refresh() {
  const read_all = await Promise.allSettled(PARTS.map(async ([path, show]) => show(await read(path))));
  const away = read_all.every((part) => part.status === "rejected");
  document.body.classList.toggle("away", away);
  if (away) $("health").textContent = "does not answer";
  if (read_all.at(-1).status === "rejected") $("scenario").textContent = "No scenario in this process.";
}

async function forever() {
  await refresh();
  setTimeout(forever, EVERY);
}

forever();
