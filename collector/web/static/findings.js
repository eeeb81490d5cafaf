// SPDX-License-Identifier: Apache-2.0

import { ask, every } from "./api.js";
import { showEvent } from "./detail.js";
import { $, h, setText } from "./dom.js";
import { ago, clock, exactly, plural, printable, processName, sentence, when, word, workloadName } from "./text.js";

// So many of the findings are unfolded when the page opens: the worst.
const unfolded = 1;
const order = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"].map((s) => `SEVERITY_${s}`);
const everyState = ["OPEN", "ACKNOWLEDGED", "RESOLVED", "EXPIRED"].map((s) => `FINDING_STATE_${s}`);

export function startFindings({ gaps, failed, answered, watch }) {
  // Cards by finding. A card is drawn anew only when its finding changes, so that nobody's typing is lost.
  const cards = new Map();
  let poll = () => {};
  // Alerts link to #finding=ID.
  let linked = "";

  async function refresh() {
    try {
      const answer = await ask("ListFindings", $("findings-all").checked ? { states: everyState } : {});
      answered("findings");
      gaps("findings", answer.completeness);
      show(answer.findings ?? []);
    } catch (error) {
      failed("findings", error);
    }
  }

  function show(findings) {
    findings.sort((a, b) => rank(a) - rank(b) || Date.parse(b.lastSeen) - Date.parse(a.lastSeen));
    const open = findings.filter((f) => f.state === "FINDING_STATE_OPEN").length;
    setText($("findings-count"), open ? `${open} open` : "none open");
    $("findings-count").classList.toggle("bad", open > 0);
    document.title = open ? `(${open}) Spoor` : "Spoor";
    const first = cards.size === 0;
    const wanted = findings.map((f, i) => {
      const text = JSON.stringify(f);
      const card = cards.get(f.id) ?? { open: first && i < unfolded };
      if (card.text !== text && !card.node?.contains(document.activeElement)) {
        const node = draw(f, card);
        card.node?.replaceWith(node);
        Object.assign(card, { text, node });
      }
      cards.set(f.id, card);
      return card.node;
    });
    for (const [id, card] of cards) {
      if (wanted.includes(card.node)) continue;
      card.node.remove();
      cards.delete(id);
    }
    const list = $("findings-list");
    list.querySelector(".empty")?.remove();
    wanted.forEach((node, i) => list.children[i] !== node && list.insertBefore(node, list.children[i] ?? null));
    if (!wanted.length) list.append(h("p", { class: "empty" }, "Nothing found that somebody should look at."));
    if (linked) showLinked(cards.get(linked));
  }

  function showLinked(card) {
    if (card) {
      card.node.open = true;
      card.node.scrollIntoView({ block: "center" });
      card.node.querySelector("summary").focus({ preventScroll: true });
    } else if (!$("findings-all").checked) {
      // It may be resolved by now.
      $("findings-all").checked = true;
      return poll();
    }
    linked = "";
  }

  function recall() {
    linked = new URLSearchParams(location.hash.slice(1)).get("finding") ?? "";
  }

  function rank(f) {
    const done = f.state === "FINDING_STATE_OPEN" ? 0 : f.state === "FINDING_STATE_ACKNOWLEDGED" ? 1 : 2;
    return done * 10 + order.indexOf(f.severity);
  }

  function draw(f, card) {
    const severity = word(f.severity, "SEVERITY_");
    const state = word(f.state, "FINDING_STATE_");
    const body = h("div", { class: "body" });
    const details = h(
      "details",
      { class: `finding ${severity} ${state}`, open: card.open },
      h(
        "summary",
        {},
        h("span", { class: "severity" }, severity),
        h("span", { class: "rule" }, printable(f.rule)),
        h("span", { class: "title" }, printable(f.title)),
        h("span", { class: "who" }, workloadName(f.workload, "")),
        h("span", { class: "when", title: `first ${clock(f.firstSeen)}, last ${clock(f.lastSeen)}` }, state === "open" ? "" : `${state}, `, ago(f.lastSeen)),
      ),
      body,
    );
    details.addEventListener("toggle", () => {
      card.open = details.open;
      if (details.open && !body.childElementCount) fillBody(f, body);
    });
    if (card.open) fillBody(f, body);
    return details;
  }

  function fillBody(f, body) {
    const owner = [f.owner?.team, f.owner?.oncall && `on call ${f.owner.oncall}`].filter(Boolean).join(", ");
    const evidence = h("div", { class: "evidence" });
    const about = [f.subject && h("code", {}, printable(f.subject)), f.subject && f.contract && " · ", f.contract && `contract ${printable(f.contract)}`];
    body.append(
      list([
        ["Why it matters", printable(f.why)],
        ["What to do", printable(f.fix)],
        ["Who", [workloadButton(f), owner ? ` · ${printable(owner)}` : " · nobody is named as its owner"]],
        ["About", about.filter(Boolean)],
        ["Note", f.note ? `${printable(f.note)} (${clock(f.stateChanged)})` : ""],
      ]),
      list([
        ["Evidence", [evidence]],
        ["Seen", `${plural(f.count, "time")}, first ${clock(f.firstSeen)}, last ${clock(f.lastSeen)}`],
        ["View", [view(f.completeness)].filter(Boolean)],
      ]),
      answerForm(f) ?? "",
    );
    loadEvidence(f, evidence);
  }

  // list shows pairs of a name and a value; those without a value are left out.
  function list(pairs) {
    return h("dl", {}, pairs.filter(([, value]) => value.length).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }

  function workloadButton(f) {
    const name = workloadName(f.workload, "");
    return h("button", { type: "button", class: "plain link", title: "Show its events", onclick: () => watch(name) }, name);
  }

  function view(completeness) {
    if (completeness?.gaps?.length) return h("span", { class: "warn" }, `incomplete: ${completeness.gaps.map(printable).join("; ")}`);
    return completeness?.complete ? "complete: no gap is known" : "";
  }

  async function loadEvidence(f, into) {
    setText(into, "asking …");
    try {
      const { evidence = [] } = await ask("GetFinding", { id: f.id });
      into.replaceChildren(
        ...evidence.map((e) =>
          h("button", { type: "button", class: "plain event", onclick: () => showEvent(e) }, h("span", { class: "time", title: exactly(e) }, clock(when(e), true)), h("span", { class: "process" }, e.process ? processName(e.process) : ""), h("span", {}, sentence(e))),
        ),
      );
      if (!evidence.length) setText(into, f.evidenceIds?.length ? "The events are no longer stored." : "No event: it is about what did not come.");
    } catch (error) {
      setText(into, error.message);
    }
  }

  function answerForm(f) {
    if (!["FINDING_STATE_OPEN", "FINDING_STATE_ACKNOWLEDGED"].includes(f.state)) return null;
    const note = h("input", { type: "text", "aria-label": `Note on ${printable(f.title)}`, placeholder: "your name, and what you know", maxlength: 500 });
    const problem = h("span", { class: "bad", role: "alert" });
    const answer = async (state) => {
      try {
        await ask("UpdateFinding", { id: f.id, state, note: note.value.trim() });
        document.activeElement?.blur();
        poll();
      } catch (error) {
        setText(problem, error.message);
      }
    };
    return h(
      "form",
      { class: "answer", onsubmit: (e) => e.preventDefault() },
      note,
      f.state === "FINDING_STATE_OPEN" && h("button", { type: "submit", onclick: () => answer("FINDING_STATE_ACKNOWLEDGED") }, "Acknowledge"),
      h("button", { type: "button", onclick: () => answer("FINDING_STATE_RESOLVED") }, "Resolve"),
      problem,
    );
  }

  $("findings-all").addEventListener("change", () => poll());
  addEventListener("hashchange", () => {
    recall();
    poll();
  });
  recall();
  poll = every(2000, refresh);
}
