// SPDX-License-Identifier: Apache-2.0

// Questions to the query service: unary Connect calls, JSON over POST.

const timeout = 15_000;

// The page is about one cluster when its address says so, for example ?cluster=prod.
export const cluster = new URLSearchParams(location.search).get("cluster") ?? "";

function narrow(method, request) {
  if (!cluster) return request;
  if (method === "ListEvents") return { ...request, filter: { ...request.filter, cluster } };
  if (["ListFindings", "ListEdges", "GetStatus"].includes(method)) return { ...request, cluster };
  return request; // one process, or one finding
}

// ask calls a method of QueryService and returns its answer. Numbers of 64 bits are strings in it (ProtoJSON).
export async function ask(method, request = {}) {
  const response = await fetch(`/spoor.v1.QueryService/${method}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Connect-Protocol-Version": "1" },
    body: JSON.stringify(narrow(method, request)),
    signal: AbortSignal.timeout(timeout),
  });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.message || `${method}: the collector answered ${response.status}`);
  return body;
}

// every asks again and again: at once, then so many milliseconds after each answer. Nothing is asked while nobody
// looks at the page. The function that it returns asks at once; so does work that returns true.
export function every(milliseconds, work) {
  let timer = 0;
  let running = false;
  let atOnce = false;
  const turn = async () => {
    clearTimeout(timer);
    if (running) atOnce = true;
    if (running || document.hidden) return;
    running = true;
    atOnce = false;
    try {
      if (await work()) atOnce = true;
    } finally {
      running = false;
      timer = setTimeout(turn, atOnce ? 0 : milliseconds);
    }
  };
  document.addEventListener("visibilitychange", turn);
  turn();
  return turn;
}
