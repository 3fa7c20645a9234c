// SPDX-License-Identifier: MIT

// chromium_peer: the other side of rtc_echo in headless Chromium. Same options, same lines, same load (rtc_lines.h,
// rtc_load.h). Host candidates need --disable-features=WebRtcHideLocalIpsWithMdns, root needs --no-sandbox.
import { chromium } from "playwright-core";
import readline from "node:readline";

const options = { role: process.argv[2], trickle: false, drive: false, n: 0, size: 0, unordered: 0, big: 0, stun: null };
for (let i = 3; i < process.argv.length; i++) {
	const [word, next] = [process.argv[i], () => process.argv[++i]];
	if (word === "--trickle") options.trickle = true;
	else if (word === "--stun") options.stun = next();
	else if (word === "--extra") options.big = Number(next());
	else if (word === "--drive")
		Object.assign(options, { drive: true, n: Number(next()), size: Number(next()), unordered: Number(next()) });
}
const browser = await chromium.launch({
	executablePath: "/usr/bin/chromium",
	headless: true,
	args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
		"--disable-features=WebRtcHideLocalIpsWithMdns"],
});
const page = await browser.newPage();
page.on("console", (m) => console.error("page:", m.text()));
await page.exposeFunction("printLine", (text) => console.log(text));

// In the page: makes the connection; window.take() is called with each line that comes.
function prepare(o) {
	const seen = (window.seen = { failure: null, messages: 0, bytes: 0, unordered_sent: 0, unordered_seen: 0, extra: 0,
		opened: 0, closed: 0 });
	const pc = (window.pc = new RTCPeerConnection(o.stun ? { iceServers: [{ urls: `stun:${o.stun}` }] } : {}));
	const length = (m) => (typeof m === "string" ? m.length : m.byteLength);
	const channels = (window.channels = {});
	window.use = (d) => {
		channels[d.label] = d;
		d.binaryType = "arraybuffer";
		// Chromium 156 sometimes tells twice that an incoming channel is open.
		d.opened = new Promise((r) => (d.onopen = () => (d.counted || seen.opened++, (d.counted = true), r())));
		d.closed = new Promise((r) => (d.onclose = () => (seen.closed++, r())));
		d.onmessage = (m) => {
			try {
				d.send(m.data);
			} catch (e) {
				console.log(`not sent back: ${e}`);
				return;
			}
			if (d.label === "unordered") seen.unordered_seen++;
			else if (d.label !== "reliable") seen.extra++;
			else (seen.messages++, (seen.bytes += length(m.data)));
		};
		return d;
	};
	pc.ondatachannel = ({ channel: d }) => {
		use(d);
		if (!d.label.startsWith("mirror ")) return;
		const o = { ordered: d.ordered, protocol: d.protocol };
		for (const name of ["maxRetransmits", "maxPacketLifeTime"]) if (d[name] !== null) o[name] = d[name];
		const told = [Number(d.ordered), o.maxRetransmits ?? -1, o.maxPacketLifeTime ?? -1].join("|");
		use(pc.createDataChannel(`${d.label}|${told}|`, o));
	};
	pc.onconnectionstatechange = () => console.log(pc.connectionState);
	let described = false;
	const held = [];
	const print = (v) => printLine(JSON.stringify(v));
	const gathered = new Promise((r) => (pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && r()));
	pc.onicecandidate = (e) => {
		if (!o.trickle || (e.candidate && e.candidate.candidate === "")) return; // null follows it
		const line = e.candidate || { candidate: "", sdpMid: "0", sdpMLineIndex: 0 };
		described ? print(line) : held.push(line);
	};
	window.describe = async () => {
		await pc.setLocalDescription();
		if (!o.trickle) await gathered;
		const { type, sdp } = pc.localDescription;
		await print({ type, sdp });
		described = true;
		held.forEach(print);
	};
	window.take = async (line) => {
		if (line.candidate !== undefined) return pc.addIceCandidate(line);
		await pc.setRemoteDescription(line);
		if (line.type === "offer") await describe();
	};
	if (o.role !== "offer") return;
	use(pc.createDataChannel("reliable"));
	use(pc.createDataChannel("unordered", { ordered: false, maxRetransmits: 0 }));
	return describe();
}

// In the page: what a driver does.
async function drive(o) {
	const seen = window.seen;
	const soon = () => new Promise((r) => setTimeout(r, 1));
	const length = (m) => (typeof m === "string" ? m.length : m.byteLength);
	const same = (a, b) => {
		if (typeof a === "string" || typeof b === "string") return a === b;
		const [x, y] = [new Uint8Array(a), new Uint8Array(b)];
		return x.length === y.length && x.every((v, i) => v === y[i]);
	};
	const make = (text, n) => {
		const u = new Uint8Array(n);
		for (let i = 0; i < n; i += 65536) crypto.getRandomValues(u.subarray(i, i + 65536));
		if (!text) return u.buffer;
		for (let i = 0; i < n; i++) u[i] = 97 + (u[i] % 26);
		return new TextDecoder().decode(u);
	};
	const fail = (why) => {
		throw new Error(why);
	};
	const nextLength = (i) => {
		if (i === 0 || i === o.n - 1) return i === 0 ? 1 : o.size;
		const low = 2 ** Math.floor(Math.random() * (1 + Math.floor(Math.log2(o.size - 1))));
		return Math.min(o.size, low + Math.floor(Math.random() * low));
	};
	while (!window.channels.reliable || !window.channels.unordered) await soon();
	const { reliable, unordered } = window.channels;
	while (reliable.readyState !== "open" || unordered.readyState !== "open") await soon();

	const sent = [];
	let waiting = 0;
	reliable.onmessage = (m) => {
		const was = sent[seen.messages];
		sent[seen.messages++] = null;
		if (was === undefined || was === null || !same(was, m.data)) seen.failure = "what came back differs";
		seen.bytes += length(m.data);
		waiting -= length(m.data);
	};
	for (let i = 0; i < o.n; i++) {
		const m = make(i % 4 === 3, nextLength(i));
		sent.push(m);
		waiting += length(m);
		reliable.send(m);
		while (waiting > 1 << 20 && reliable.readyState === "open") await soon();
	}
	while (seen.messages < o.n && reliable.readyState === "open") await soon();
	if (seen.messages < o.n) fail("messages are missing");
	if (seen.failure) fail(seen.failure);

	await printLine('{"paced":1}');
	const known = new Set();
	let heard = performance.now();
	const start = heard;
	unordered.onmessage = (m) => {
		const number = new DataView(m.data).getUint32(0);
		if (m.data.byteLength !== 200 || known.has(number)) seen.failure = "a paced message came back twice or changed";
		known.add(number);
		seen.unordered_seen++;
		heard = performance.now();
	};
	while (seen.unordered_seen < o.unordered) {
		const due = Math.min(o.unordered, Math.floor(performance.now() - start));
		for (; seen.unordered_sent < due; seen.unordered_sent++) {
			const m = new DataView(new ArrayBuffer(200));
			m.setUint32(0, seen.unordered_sent);
			unordered.send(m.buffer);
		}
		if (seen.unordered_sent === o.unordered && performance.now() - heard > 2000) break;
		await soon();
	}
	if (seen.failure) fail(seen.failure);

	const within = (promises, what) => Promise.race([Promise.all(promises),
		new Promise((_, reject) => setTimeout(() => reject(new Error(`a channel was not ${what}`)), 10000))]);
	for (let round = 0; o.big > 0 && round < 3; round++) {
		const made = [];
		for (let i = 0; i < 6; i++) {
			const more = [{}, { maxRetransmits: 20 }, { maxPacketLifeTime: 30000 }][i >> 1];
			made.push(use(pc.createDataChannel(`extra ${i}`, { ordered: i % 2 === 0, protocol: "interop", ...more })));
		}
		await within(made.map((d) => d.opened), "opened");
		let expected = [];
		for (const d of made)
			d.onmessage = (m) => {
				const at = expected.findIndex((e) => e.d === d && same(e.m, m.data));
				if (at < 0) seen.failure = `a message on a further channel changed: ${length(m.data)} bytes`;
				else expected.splice(at, 1);
				seen.extra++;
			};
		for (const d of made)
			for (const [i, n] of [0, 0, 1, o.big, 1000].entries()) {
				const m = make(i === 0 || i === 4, n);
				expected.push({ d, m });
				d.send(m);
			}
		while (expected.length > 0 && !seen.failure && reliable.readyState === "open") await soon();
		if (expected.length > 0) fail(seen.failure || "messages on further channels are missing");
		made.forEach((d) => d.close());
		await within(made.map((d) => d.closed), "closed");
	}
	[reliable, unordered].forEach((d) => d.close());
	await within([reliable.closed, unordered.closed], "closed");
}

await page.evaluate(prepare, options);
const lines = readline.createInterface({ input: process.stdin });
const over = new Promise((r) => lines.on("close", r));
let before = Promise.resolve(), failure = null;
lines.on("line", (text) => {
	before = before.then(() => page.evaluate((line) => take(line), JSON.parse(text))).catch((e) => (failure ||= `${e}`));
});
if (options.drive) await page.evaluate(drive, options).catch((e) => (failure ||= `${e}`));
else await over;
const seen = await page.evaluate(() => (pc.close(), window.seen));
await new Promise((r) => setTimeout(r, 200)); // its last packets leave before the browser ends
await browser.close();
failure = seen.failure || failure;
console.log(JSON.stringify({ report: { ...seen, failure } }));
process.exit(failure ? 1 : 0);
