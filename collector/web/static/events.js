// SPDX-License-Identifier: Apache-2.0

import { ask, every } from "./api.js";
import { $, h, setText } from "./dom.js";
import { showEvent, showTree } from "./detail.js";
import { List } from "./list.js";
import { exactly, plural, printable, processName, sentence, shortClock, when, workloadName } from "./text.js";

// As many events stay in the page; older ones are still in the store.
const kept = 10_000;
const firstPage = 500;
const page = 2_000;

const families = { file_write: "file", file_change: "file", flow: "network", listen: "network", dns: "network", share: "share", loss: "loss", coverage: "loss" };

// startEvents shows live events and reports to status: gaps, failed, answered.
export function startEvents({ gaps, failed, answered }) {
  let after = "0";
  let items = [];
  let generation = 0;
  let paused = false;
  let poll = () => {};
  const workloads = new Set();

  const list = new List($("events-list"), {
    key: (e) => e.id,
    empty: "No events match.",
    act: (e, key) => (key === "Enter" && e.process ? showTree(e.process.execId) : showEvent(e)),
    draw: (e) => [
      h("span", { role: "gridcell", class: "time", title: exactly(e) }, shortClock(when(e))),
      h("span", { role: "gridcell", class: `mark ${families[e.kind] ?? ""}`, title: printable(e.kind), "aria-label": printable(e.kind) }),
      h("span", { role: "gridcell", class: "process" }, process(e)),
      h("span", { role: "gridcell", class: "workload", title: workloadName(e.instance?.workload, e.node) }, workloadName(e.instance?.workload, e.node)),
      h("span", { role: "gridcell", class: "what" }, what(e)),
    ],
  });

  function process(e) {
    if (!e.process) return printable(e.node);
    const name = processName(e.process);
    return h("button", { type: "button", tabindex: -1, class: "plain", title: `${name}: show its tree`, onclick: () => showTree(e.process.execId) }, name);
  }

  function what(e) {
    const text = sentence(e);
    return h("button", { type: "button", tabindex: -1, class: "plain", title: text, onclick: () => showEvent(e) }, text);
  }

  function filter() {
    const f = {};
    if ($("kind").value) f.kinds = $("kind").value.split(",");
    if ($("workload").value.trim()) f.workload = $("workload").value.trim();
    if ($("path").value) f.pathPrefix = $("path").value;
    return f;
  }

  // The page's address holds the filter, so that it can be sent to somebody.
  function remember() {
    const query = new URLSearchParams(location.hash.slice(1));
    for (const id of ["kind", "workload", "path"]) {
      if ($(id).value) query.set(id, $(id).value);
      else query.delete(id);
    }
    history.replaceState(null, "", `${location.pathname}${location.search}${query.size ? `#${query}` : ""}`);
  }

  function recall() {
    const query = new URLSearchParams(location.hash.slice(1));
    for (const id of ["kind", "workload", "path"]) $(id).value = query.get(id) ?? "";
  }

  function restart() {
    generation++;
    after = "0";
    items = [];
    list.clear();
    remember();
    poll();
  }

  function take(events) {
    events.reverse();
    items = events.concat(items).slice(0, kept);
    list.set(items, events.length);
    const known = workloads.size;
    for (const e of events) if (e.instance?.workload) workloads.add(workloadName(e.instance.workload, e.node));
    if (workloads.size !== known && workloads.size < 500) $("workloads").replaceChildren(...[...workloads].sort().map((w) => h("option", { value: w })));
  }

  // Returns true when there is more to fetch at once.
  async function fetchMore() {
    if (paused) return false;
    const mine = generation;
    const first = after === "0";
    try {
      const answer = await ask("ListEvents", { filter: filter(), afterId: after, limit: first ? firstPage : page, newest: first });
      if (mine !== generation) return true;
      answered("events");
      gaps("events", answer.completeness);
      const events = answer.events ?? [];
      if (events.length) {
        after = events[events.length - 1].id;
        take(events);
      }
      setText($("events-count"), items.length ? `${plural(items.length, "event")}${items.length === kept ? ", the newest" : ""}` : "");
      return !first && answer.more;
    } catch (error) {
      failed("events", error);
      return false;
    }
  }

  let typing = 0;
  $("filter").addEventListener("submit", (e) => e.preventDefault());
  $("filter").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(restart, 250);
  });
  addEventListener("hashchange", () => {
    recall();
    restart();
  });
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    setText($("pause"), paused ? "Resume" : "Pause");
    poll();
  });
  recall();
  poll = every(1000, fetchMore);

  return {
    // only shows the events of one workload.
    only(workload) {
      $("workload").value = workload;
      restart();
    },
  };
}
