// SPDX-License-Identifier: MIT

// chromium_parse: as rtc_parse, what Chromium understands of candidates and descriptions; STUN messages are passed over.
import { chromium } from "playwright-core";
import readline from "node:readline";

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true,
	args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
const page = await browser.newPage();

// In the page. Of a description it gives back the text that the browser writes of what it has understood.
async function understand(all) {
	const candidate = (text) => {
		let c;
		try {
			c = new RTCIceCandidate({ candidate: text, sdpMid: "0" });
		} catch {
			return { ok: false, why: "malformed" };
		}
		if (c.address === null || c.port === null) return { ok: false, why: "malformed" };
		if (c.protocol !== "udp" || c.component !== "rtp" || c.address.endsWith(".local")) return { ok: false, why: "unused" };
		const host = c.address.includes(":") ? `[${c.address}]` : c.address;
		return { ok: true, type: c.type, priority: c.priority, foundation: c.foundation, address: `${host}:${c.port}` };
	};
	const description = async (sdp) => {
		const pc = new RTCPeerConnection();
		try {
			await pc.setRemoteDescription({ type: "offer", sdp });
			return { ok: true, text: pc.remoteDescription.sdp };
		} catch (e) {
			return { ok: false, why: `${e}` };
		} finally {
			pc.close();
		}
	};
	const out = [];
	for (const { kind, text } of all)
		out.push(kind === "candidate" ? candidate(text) : kind === "sdp" ? await description(text) : null);
	return out;
}

const all = [];
for await (const line of readline.createInterface({ input: process.stdin })) all.push(JSON.parse(line));
for (const m of await page.evaluate(understand, all)) console.log(JSON.stringify(m));
await browser.close();
