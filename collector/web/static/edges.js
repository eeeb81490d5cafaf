// SPDX-License-Identifier: Apache-2.0

import { ask, every } from "./api.js";
import { $, h, setText } from "./dom.js";
import { drawn, layout, picture } from "./graph.js";
import { clock, plural, printable, size, word, workloadName } from "./text.js";

// Rows of the table; the command line shows all.
const rows = 200;

// name of one end: a workload, else a DNS name, else the address.
function nameOf(end = {}) {
  if (end.workload?.name) return workloadName(end.workload, "");
  return printable(end.dnsName || end.address || "?");
}

export function startEdges({ gaps, failed, answered, watch }) {
  let last = "";

  async function refresh() {
    try {
      const answer = await ask("ListEdges", {});
      answered("edges");
      gaps("edges", answer.completeness);
      const text = JSON.stringify(answer.edges ?? []);
      if (text !== last && !$("graph").contains(document.activeElement)) {
        last = text;
        show(answer.edges ?? []);
      }
    } catch (error) {
      failed("edges", error);
    }
  }

  function show(edges) {
    setText($("edges-count"), edges.length ? plural(edges.length, "edge") : "");
    const sorted = edges.toSorted((a, b) => failures(b) - failures(a) || Date.parse(b.lastSeen ?? 0) - Date.parse(a.lastSeen ?? 0));
    const label = shortNames(edges.flatMap((e) => [nameOf(e.from), nameOf(e.to)]));
    $("edges-rows").replaceChildren(...sorted.slice(0, rows).map((e) => row(e, label)));
    if (!edges.length) {
      $("graph").replaceChildren(h("p", { class: "empty" }, "Nobody has called anybody yet."));
      return;
    }
    const pairs = merge(edges);
    const laid = layout(pairs, label);
    $("graph").replaceChildren(
      picture(laid, watch),
      laid.left > 0 ? h("p", { class: "quiet" }, `The ${drawn} with the most connections are drawn; ${laid.left} more are in the table.`) : "",
    );
  }

  const failures = (e) => Number(e.refused ?? 0) + Number(e.timedOut ?? 0);

  // merge joins the edges between the same two ends, whatever the port: one line in the picture.
  function merge(edges) {
    const pairs = new Map();
    for (const e of edges) {
      const from = nameOf(e.from);
      const to = nameOf(e.to);
      const key = JSON.stringify([from, to]);
      const pair = pairs.get(key) ?? { from, to, opened: 0, failed: 0, attested: false, ports: [] };
      pair.opened += Number(e.opened ?? 0);
      pair.failed += failures(e);
      pair.attested ||= Boolean(e.seenByCaller && e.seenByCalled);
      pair.ports.push(`${word(e.transport, "TRANSPORT_")} ${e.to?.port ?? 0}`);
      pair.title = `${from} → ${to} on ${pair.ports.slice(0, 8).join(", ")}: ${plural(pair.opened, "connection")}${pair.failed ? `, ${pair.failed} failed` : ""}`;
      pairs.set(key, pair);
    }
    return [...pairs.values()];
  }

  // shortNames gives each workload its name alone, or as much more as tells it from the others.
  function shortNames(names) {
    const tails = (name, n) => name.split("/").slice(-n).join("/");
    const shared = (name, n) => new Set(names.filter((other) => tails(other, n) === tails(name, n))).size > 1;
    return (name) => tails(name, [1, 2, 3].find((n) => !shared(name, n)) ?? 4);
  }

  function row(e, label) {
    const failed = failures(e);
    const attested = e.seenByCaller && e.seenByCalled ? "both ends" : e.seenByCaller ? "caller only" : e.seenByCalled ? "called only" : "nobody";
    return h(
      "tr",
      { title: `${size(e.bytesSent)} sent, ${size(e.bytesReceived)} received, first seen ${clock(e.firstSeen)}, attested by ${attested}` },
      h("td", {}, endButton(e.from, label)),
      h("td", {}, endButton(e.to, label)),
      h("td", { class: "number" }, `${e.to?.port ?? 0}/${word(e.transport, "TRANSPORT_")}`),
      h("td", { class: "number" }, Number(e.opened ?? 0).toLocaleString("en")),
      h("td", { class: failed ? "number warn" : "number" }, failed.toLocaleString("en")),
      h("td", { class: attested === "both ends" ? "extra" : "extra quiet" }, attested),
      h("td", { class: "time" }, clock(e.lastSeen)),
    );
  }

  function endButton(end = {}, label) {
    const name = nameOf(end);
    if (!end.workload?.name) return name;
    return h("button", { type: "button", class: "plain", title: `${name}: show its events`, onclick: () => watch(name) }, label(name));
  }

  every(5000, refresh);
}
