// SPDX-License-Identifier: MIT

// chromium_peer.mjs offer|answer [N SIZE]: the other side of rtc_echo in headless Chromium; as pion_peer.
// Host candidates need --disable-features=WebRtcHideLocalIpsWithMdns, root needs --no-sandbox.
import { chromium } from "playwright-core";
import readline from "node:readline";

const [role, n, size] = [process.argv[2], Number(process.argv[3] || 0), Number(process.argv[4] || 0)];
const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
	"--disable-features=WebRtcHideLocalIpsWithMdns"];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args });
const page = await browser.newPage();
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const read = async () => JSON.parse(Buffer.from((await lines.next()).value, "base64"));
const print = (d) => console.log(Buffer.from(JSON.stringify(d)).toString("base64"));

// In the page: makes the connection and its description, all candidates inside.
async function describe([role, offer]) {
	const pc = (window.pc = new RTCPeerConnection());
	const use = (d) => {
		window.dc = d;
		d.binaryType = "arraybuffer";
		window.channelClosed = new Promise((r) => (d.onclose = r));
		d.onmessage = (m) => d.send(m.data);
	};
	window.channelOpen = new Promise((r) => (pc.ondatachannel = (e) => (use(e.channel), r())));
	if (role === "offer") {
		use(pc.createDataChannel("interop"));
		window.channelOpen = new Promise((r) => (window.dc.onopen = r));
	} else {
		await pc.setRemoteDescription(offer);
	}
	await pc.setLocalDescription();
	while (pc.iceGatheringState !== "complete") await new Promise((r) => setTimeout(r, 20));
	return { type: pc.localDescription.type, sdp: pc.localDescription.sdp };
}

// In the page: sends n messages of 1 .. size bytes, each fourth one text, and compares the echoes byte by byte.
async function send([n, size]) {
	await window.channelOpen;
	const sent = [], bytes = (m) => (typeof m === "string" ? m.length : m.byteLength);
	let received = 0, waiting = 0, different = 0;
	const same = (a, b) => {
		if (typeof a === "string" || typeof b === "string") return a === b;
		const [x, y] = [new Uint8Array(a), new Uint8Array(b)];
		return x.length === y.length && x.every((v, i) => v === y[i]);
	};
	window.dc.onmessage = (m) => {
		const was = sent[received];
		sent[received++] = null;
		waiting -= bytes(was);
		if (!same(was, m.data)) different++;
	};
	const until = async (done) => {
		while (!done() && window.dc.readyState === "open") await new Promise((r) => setTimeout(r, 1));
	};
	for (let i = 0; i < n && window.dc.readyState === "open"; i++) {
		const length = i === 0 ? 1 : i === n - 1 ? size : 1 + Math.floor(Math.random() * size);
		const u = new Uint8Array(length);
		crypto.getRandomValues(u);
		const m = i % 4 === 3 ? Array.from(u, (x) => String.fromCharCode(97 + (x % 26))).join("") : u.buffer;
		sent.push(m);
		waiting += length;
		window.dc.send(m);
		await until(() => waiting < 1 << 20);
	}
	await until(() => received === n);
	window.dc.close();
	return { received, different };
}

let ok = true;
if (role === "offer") {
	print(await page.evaluate(describe, [role, null]));
	const answer = await read();
	await page.evaluate((a) => pc.setRemoteDescription(a), answer);
} else {
	print(await page.evaluate(describe, [role, await read()]));
}
if (n > 0) {
	const seen = await page.evaluate(send, [n, size]);
	ok = seen.received === n && seen.different === 0;
	console.log(ok ? "echoes are equal" : JSON.stringify(seen));
} else {
	await page.evaluate(() => window.channelOpen);
}
await page.evaluate(() => window.channelClosed);
console.log("channel closed");
await page.evaluate(() => pc.close());
await new Promise((r) => setTimeout(r, 200)); // its last packets leave before the browser ends
await browser.close();
process.exit(ok ? 0 : 1);
