// SPDX-License-Identifier: Apache-2.0

// Words for what an answer states, the same as those of the command line. Pure functions.

// What a reader could not see, or what could change how other text reads: controls, formatting and bidirectional
// characters, private and unassigned code points, marks, separators, fillers. Backslashes are doubled, so that
// the text says exactly which characters there were.
const hidden = /[\p{C}\p{M}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0\u2800\\]|(?! )\p{Zs}/gu;

export function printable(text) {
  return String(text ?? "").replace(hidden, (c) => {
    if (c === "\\") return "\\\\";
    if (c === "\n") return "\\n";
    if (c === "\t") return "\\t";
    if (c === "\r") return "\\r";
    const code = c.codePointAt(0);
    if (code < 0x80) return "\\x" + code.toString(16).padStart(2, "0");
    if (code <= 0xffff) return "\\u" + code.toString(16).padStart(4, "0");
    return "\\U" + code.toString(16).padStart(8, "0");
  });
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

// exact shows bytes: runs that are UTF-8 as text, every other byte by its number.
function exact(bytes) {
  let out = "";
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i];
    const length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    try {
      out += printable(decoder.decode(bytes.subarray(i, i + length)));
      i += length;
    } catch {
      out += "\\x" + first.toString(16).padStart(2, "0");
      i++;
    }
  }
  return out;
}

export function path(file = {}) {
  const name = file.pathRaw ? exact(bytesOf(file.pathRaw)) : printable(file.path);
  return (file.pathTruncated ? "…" : "") + (name || `(unnamed file, inode ${file.inode ?? 0})`);
}

// quote writes an argument so that a shell reads it back: as it is, in '...', or in $'...' when it had to be escaped.
function quote(shown, escaped) {
  if (/^[%+,\-./0-9:=@A-Z_a-z]+$/.test(shown)) return shown;
  return escaped ? `$'${shown.replaceAll("'", "\\'")}'` : `'${shown.replaceAll("'", "'\\''")}'`;
}

function quoteText(text) {
  const shown = printable(text);
  return quote(shown, shown !== text);
}

// rawArguments splits NUL-separated bytes.
function rawArguments(bytes) {
  const args = [];
  for (let start = 0; start < bytes.length; ) {
    const nul = bytes.indexOf(0, start);
    const end = nul < 0 ? bytes.length : nul;
    const shown = exact(bytes.subarray(start, end));
    args.push(quote(shown, shown.includes("\\")));
    start = end + 1;
  }
  return args;
}

// command begins with the executable, not with argument 0: a process may write anything there.
export function command(process = {}) {
  let args = process.argsRaw ? rawArguments(bytesOf(process.argsRaw)) : (process.args ?? []).map(quoteText);
  if (process.exe) args = [quoteText(process.exe), ...args.slice(1)];
  else if (args.length === 0) args = [quoteText(process.comm ?? "")];
  if (process.argsTruncated) args.push("…");
  return args.join(" ");
}

export function processName(process) {
  return process ? `${printable(process.comm)}[${process.tgid ?? 0}]` : "–";
}

// workloadName leaves out a namespace that is only the node's own name. Without a node it leaves out nothing.
export function workloadName(workload, node) {
  if (!workload || (!workload.kind && !workload.name)) return "–";
  let name = `${workload.kind ?? ""}/${workload.name ?? ""}`;
  if (workload.namespace && (workload.namespace !== node || workload.cluster)) name = `${workload.namespace}/${name}`;
  if (workload.cluster) name = `${workload.cluster}/${name}`;
  return printable(name);
}

export function plural(n, noun) {
  const number = Number(n ?? 0);
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : /(s|ch)$/.test(noun) ? "es" : "s"}`;
}

export function size(bytes) {
  let n = Number(bytes ?? 0);
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${unit > 0 && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

// perSecond is how fast a count grew between two looks at it, at milliseconds; a dash before the second look.
export function perSecond(before, now) {
  if (!before) return "–";
  const rate = Math.max(0, ((now.count - before.count) * 1000) / (now.at - before.at));
  return rate < 10 ? rate.toFixed(1) : Math.round(rate).toLocaleString("en");
}

export function duration(milliseconds) {
  const seconds = Math.round(milliseconds / 1000);
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))}ms`;
  if (seconds < 60) return `${seconds}s`;
  const two = (large, l, small, s) => `${Math.floor(seconds / large)}${l}` + (Math.floor((seconds % large) / small) ? `${Math.floor((seconds % large) / small)}${s}` : "");
  if (seconds < 3600) return two(60, "m", 1, "s");
  if (seconds < 86400) return two(3600, "h", 60, "m");
  return two(86400, "d", 3600, "h");
}

export function ago(time, now = Date.now()) {
  return time ? `${duration(now - Date.parse(time))} ago` : "never";
}

const pad = (n, width = 2) => String(n).padStart(width, "0");

export function clock(time, milliseconds = false) {
  if (!time) return "–";
  const t = new Date(time);
  const hms = `${pad(t.getHours())}:${pad(t.getMinutes())}:${pad(t.getSeconds())}` + (milliseconds ? `.${pad(t.getMilliseconds(), 3)}` : "");
  return t.toDateString() === new Date().toDateString() ? hms : `${t.getFullYear()}-${pad(t.getMonth() + 1)}-${pad(t.getDate())} ${hms}`;
}

// shortClock fits a narrow column: the time of day, or of another day the date and the minute.
export function shortClock(time) {
  const full = clock(time);
  return full.length > 8 ? full.slice(5, 16) : full;
}

// when an event happened: by the collector's clock where that of the node was off.
export const when = (event) => event.correctedTime ?? event.time;

// exactly says it to the millisecond, and what the node said where that is something else.
export function exactly(event) {
  const told = event.correctedTime ? `; by the clock of ${printable(event.node)}, which was off, ${clock(event.time, true)}` : "";
  return clock(when(event), true) + told;
}

// word makes of an enum's value what people say: SEVERITY_HIGH -> high, WRITABLE_LAYER -> writable-layer.
export function word(value, prefix) {
  return String(value ?? "").replace(prefix, "").toLowerCase().replaceAll("_", "-");
}

function hostPort(end = {}) {
  const address = printable(end.address);
  if (!end.port) return address;
  return address.includes(":") ? `[${address}]:${end.port}` : `${address}:${end.port}`;
}

function listenSentence(l) {
  const transport = word(l.transport, "TRANSPORT_");
  if (transport === "packet" || transport === "raw") {
    const open = l.closed ? `closed a ${transport} socket` : `has a ${transport} socket open`;
    return transport === "raw" ? `${open} for IP protocol ${l.ipProtocol ?? 0} at ${hostPort(l.local)}` : open;
  }
  return `${l.closed ? "stopped listening" : "listens"} on ${transport} ${hostPort(l.local)}`;
}

function peer(end, node) {
  const at = hostPort(end);
  if (end?.workload?.name) return `${workloadName(end.workload, node)} at ${at}`;
  if (end?.dnsName) return `${printable(end.dnsName)} at ${at}`;
  return at;
}

// Why there is no name for a peer. That nobody answered is said by its numbers.
const why = {
  UNKNOWN_NOT_YET: "who that is may be told yet",
  UNKNOWN_NO_AGENT: "no agent tells who that is",
  UNKNOWN_OUTSIDE: "outside",
};

const notes = (list) => (list.length ? ` (${list.join(", ")})` : "");

function flowSentence(node, f) {
  const transport = word(f.transport, "TRANSPORT_");
  const sent = Number(f.bytesSent ?? 0);
  const received = Number(f.bytesReceived ?? 0);
  const list = [];
  if (f.opened > 1) list.push(plural(f.opened, "connection"));
  if (f.refused) list.push(`${f.refused} refused`);
  if (f.timedOut) list.push(`${f.timedOut} unanswered`);
  if (sent) list.push(`${size(sent)} sent`);
  if (received) list.push(`${size(received)} received`);
  if (why[f.peer?.unknown]) list.push(why[f.peer.unknown]);
  if (f.direction === "DIRECTION_INBOUND") return `was called on ${transport} port ${f.local?.port ?? 0} by ${peer(f.peer, node)}${notes(list)}`;
  const failed = (f.refused || f.timedOut) && !f.opened && !f.closed && !sent && !received;
  return `${failed ? "failed to call" : "called"} ${peer(f.peer, node)} over ${transport}${notes(list)}`;
}

function writeSentence(w) {
  const before = Number(w.sizeBefore ?? 0);
  const after = Number(w.sizeAfter ?? 0);
  const list = [];
  if (before !== after) list.push(`${size(before)} → ${size(after)}`);
  else if (w.data) list.push(size(after));
  if (w.changes > 1) {
    const took = Date.parse(w.last) - Date.parse(w.first);
    list.push(plural(w.changes, "change") + (took >= 1000 ? ` in ${duration(took)}` : ""));
  }
  const storage = word(w.file?.storageClass, "STORAGE_CLASS_");
  if (storage && storage !== "host") list.push(storage);
  if (w.file?.unlinked) list.push("deleted since");
  return (w.data || before !== after ? "wrote " : "changed attributes of ") + path(w.file) + notes(list);
}

const changes = {
  OPERATION_CREATE: (from) => `created ${from}`,
  OPERATION_RENAME: (from, to) => `renamed ${from} to ${to}`,
  OPERATION_LINK: (from, to) => `linked ${from} as ${to}`,
  OPERATION_UNLINK: (from) => `removed ${from}`,
  OPERATION_ATTRIBUTES: (from) => `changed attributes of ${from}`,
};

// Of Linux on x86 and Arm, from 1.
const signals = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(" ");

export function exitSentence(exit) {
  if (!exit.signal) return `exited ${exit.exitCode ?? 0}`;
  const name = signals[exit.signal - 1];
  return name ? `killed by SIG${name}` : `killed by signal ${exit.signal}`;
}

// sentence says in words what an event states. Its subject is the process of the event.
export function sentence(event) {
  const e = event;
  if (e.processStart) {
    if (e.processStart.cause === "CAUSE_FORK") return "forked";
    return (e.processStart.cause === "CAUSE_FOUND" ? "was running: " : "started ") + command(e.process);
  }
  if (e.processExit) return exitSentence(e.processExit);
  if (e.fileWrite) return writeSentence(e.fileWrite);
  if (e.fileChange) {
    const say = changes[e.fileChange.operation] ?? ((from) => `changed ${from}`);
    return say(path(e.fileChange.file), printable(e.fileChange.targetPath));
  }
  if (e.flow) return flowSentence(e.node, e.flow);
  if (e.listen) return listenSentence(e.listen);
  if (e.dns) return e.dns.addresses?.length ? `resolved ${printable(e.dns.name)} to ${printable(e.dns.addresses.join(", "))}` : `asked for ${printable(e.dns.name)}, which has no address`;
  if (e.share) {
    const what = { KIND_FILE: "a file", KIND_MEMORY: "memory", KIND_SOCKET: "a socket" }[e.share.kind] ?? "something";
    const named = what + (e.share.file ? ` (${path(e.share.file)})` : "");
    const other = workloadName(e.share.other, e.node);
    return e.share.access === "ACCESS_READ" ? `reads ${named}, which ${other} wrote` : `shares ${named} with ${other}`;
  }
  if (e.loss) return `${plural(e.loss.count, "fact")} lost by ${printable(e.loss.source)}: ${printable(e.loss.reason)}`;
  if (e.coverage) return `sensor ${printable(e.coverage.sensor)}: ${printable(e.coverage.tier)}${e.coverage.reason ? `, ${printable(e.coverage.reason)}` : ""}`;
  return printable(e.kind);
}
