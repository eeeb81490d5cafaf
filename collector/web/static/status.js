// SPDX-License-Identifier: Apache-2.0

// The strip at the top: is anybody there, what can they see, what could be missing.

import { ask, cluster, every } from "./api.js";
import { $, h, setText } from "./dom.js";
import { ago, clock, perSecond, plural, printable, size } from "./text.js";

// Gaps that are shown before one has to ask for the rest.
const shownGaps = 3;

// startStatus returns what the other parts tell it: gaps(part, completeness), failed(part, error), answered(part).
export function startStatus() {
  const known = new Map();
  const failures = new Map();
  let drawn = "";
  let unfolded = false;

  function gaps(part, completeness) {
    known.set(part, completeness?.gaps ?? []);
    drawGaps();
  }

  function drawGaps() {
    const all = [...new Set([...known.values()].flat())];
    const text = JSON.stringify([all, unfolded]);
    if (text === drawn) return;
    drawn = text;
    const visible = unfolded ? all : all.slice(0, shownGaps);
    const more = all.length - visible.length;
    $("gaps").hidden = all.length === 0;
    $("gaps").replaceChildren(
      h("strong", {}, "The view is incomplete."),
      h("ul", {}, ...visible.map((gap) => h("li", {}, printable(gap)))),
      more > 0 || unfolded ? h("button", { type: "button", onclick: () => ((unfolded = !unfolded), drawGaps()) }, unfolded ? "Show fewer" : `Show ${more} more`) : "",
    );
  }

  function failed(part, error) {
    failures.set(part, { since: failures.get(part)?.since ?? new Date().toISOString(), message: error.message });
    drawLink();
  }

  function answered(part) {
    if (failures.delete(part) || $("link").className !== "link good") drawLink();
  }

  function drawLink() {
    const [failure] = failures.values();
    $("link").className = failure ? "link bad" : "link good";
    setText($("link"), failure ? `no answer since ${clock(failure.since)}: ${printable(failure.message)}` : "live");
  }

  let before = null;
  async function refresh() {
    try {
      const status = await ask("GetStatus");
      answered("status");
      gaps("status", status.completeness);
      $("agents").replaceChildren(...agents(status.agents ?? []));
      offer(status.agents ?? []);
      const now = { at: performance.now(), count: Number(status.events ?? 0) };
      const oldest = status.oldest ? `, since ${clock(status.oldest)}` : "";
      setText($("rate"), `${perSecond(before, now)} events/s · ${plural(now.count, "event")} in ${size(status.storeBytes)}${oldest}`);
      before = now;
    } catch (error) {
      failed("status", error);
    }
  }

  // offer lets people choose a cluster where there are several to choose from, or leave the one that is shown.
  const clusters = new Set(cluster ? [cluster] : []);
  function offer(list) {
    const known = clusters.size;
    for (const a of list) if (a.cluster) clusters.add(a.cluster);
    $("clusters").hidden = !cluster && clusters.size < 2;
    if (clusters.size === known && $("cluster").options.length) return;
    $("cluster").replaceChildren(h("option", { value: "" }, "all"), ...[...clusters].sort().map((c) => h("option", { value: c }, printable(c))));
    $("cluster").value = cluster;
  }
  $("cluster").addEventListener("change", () => {
    const query = new URLSearchParams(location.search);
    if ($("cluster").value) query.set("cluster", $("cluster").value);
    else query.delete("cluster");
    location.search = query;
  });

  function agents(list) {
    if (!list.length) return [h("li", { class: "bad" }, "no agent has reported")];
    return list.map((a) => {
      const name = printable(a.cluster ? `${a.cluster}/${a.node}` : a.node);
      const tiers = (a.coverage ?? []).map((c) =>
        h("span", { class: `tier ${["full", "base"].includes(c.tier) ? c.tier : "off"}`, title: printable(c.reason), tabindex: c.reason ? 0 : null }, `${printable(c.sensor)} ${printable(c.tier)}`),
      );
      const about = `version ${printable(a.version)}, kernel ${printable(a.kernelRelease)}, up since ${clock(a.startTime)}, last heard ${ago(a.lastSeen)}`;
      return h("li", { class: a.connected ? "" : "bad" }, h("span", { class: "dot", "aria-hidden": "true" }), h("span", { class: "node", title: about }, name), a.connected ? null : h("span", {}, `silent since ${clock(a.lastSeen)}`), ...tiers);
    });
  }

  every(3000, refresh);
  return { gaps, failed, answered };
}
