// SPDX-License-Identifier: MIT

// pion_parse: as rtc_parse, what pion's packages understand of each line. Of SDP only whether it is taken.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/pion/ice/v2"
	"github.com/pion/stun"
	"github.com/pion/webrtc/v3"
)

type meaning map[string]interface{}

func refused(why string) meaning { return meaning{"ok": false, "why": why} }

func candidate(text string) meaning {
	c, err := ice.UnmarshalCandidate(strings.TrimPrefix(text, "candidate:"))
	if err != nil {
		return refused("malformed")
	}
	if c.NetworkType().IsTCP() || c.Component() != 1 || strings.HasSuffix(c.Address(), ".local") {
		return refused("unused")
	}
	return meaning{"ok": true, "type": c.Type().String(), "priority": c.Priority(), "foundation": c.Foundation(),
		"address": net.JoinHostPort(c.Address(), strconv.Itoa(c.Port()))}
}

func mapped(m *stun.Message) interface{} {
	var x stun.XORMappedAddress
	if x.GetFrom(m) == nil {
		return net.JoinHostPort(x.IP.String(), strconv.Itoa(x.Port))
	}
	var plain stun.MappedAddress
	if plain.GetFrom(m) == nil {
		return net.JoinHostPort(plain.IP.String(), strconv.Itoa(plain.Port))
	}
	return nil
}

func hasTieBreaker(m *stun.Message, kind stun.AttrType) bool {
	v, err := m.Get(kind)
	return err == nil && len(v) == 8
}

func binding(text, key string) meaning {
	raw, err := hex.DecodeString(text)
	m := &stun.Message{Raw: raw}
	if err != nil || len(raw) > 2048 || m.Decode() != nil {
		return refused("malformed")
	}
	if m.Contains(stun.AttrFingerprint) && stun.Fingerprint.Check(m) != nil {
		return refused("malformed")
	}
	var code stun.ErrorCodeAttribute
	var priority uint32
	var username interface{}
	_ = code.GetFrom(m)
	if v, err := m.Get(stun.AttrPriority); err == nil && len(v) == 4 {
		priority = binary.BigEndian.Uint32(v)
	}
	if v, err := m.Get(stun.AttrUsername); err == nil {
		username = hex.EncodeToString(v)
	}
	return meaning{"ok": true, "class": strings.Split(m.Type.Class.String(), " ")[0], "method": uint16(m.Type.Method),
		"id": hex.EncodeToString(m.TransactionID[:]), "username": username, "mapped": mapped(m), "error": code.Code,
		"priority": priority, "use_candidate": m.Contains(stun.AttrUseCandidate),
		"controlling": hasTieBreaker(m, stun.AttrICEControlling), "controlled": hasTieBreaker(m, stun.AttrICEControlled),
		"integrity":   stun.NewShortTermIntegrity(key).Check(m) == nil,
		"fingerprint": m.Contains(stun.AttrFingerprint)}
}

func description(text string) meaning {
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		panic(err)
	}
	defer pc.Close()
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: text}); err != nil {
		return refused(err.Error())
	}
	return meaning{"ok": true}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c struct{ Kind, Text, Key string }
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			panic(err)
		}
		var m meaning
		switch c.Kind {
		case "candidate":
			m = candidate(c.Text)
		case "stun":
			m = binding(c.Text, c.Key)
		default:
			m = description(c.Text)
		}
		out, _ := json.Marshal(m)
		fmt.Println(string(out))
	}
}
