// SPDX-License-Identifier: MIT

// pion_peer: the other side of rtc_echo, made of pion. Same options, same lines, same load (rtc_lines.h, rtc_load.h).
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pion/logging"
	"github.com/pion/webrtc/v3"
)

const (
	window       = 1 << 20 // bytes sent and not yet back
	limit        = 300 * time.Second
	closeLimit   = 10 * time.Second
	stray        = 2 * time.Second
	pacedBytes   = 200
	extraRounds  = 3
	extraCount   = 6
	extraPlenty  = uint16(20)
	extraLifetim = uint16(30000)
)

type message struct {
	channel *webrtc.DataChannel
	webrtc.DataChannelMessage
}

type report struct {
	Failure       *string `json:"failure"`
	Messages      int     `json:"messages"`
	Bytes         int     `json:"bytes"`
	UnorderedSent int     `json:"unordered_sent"`
	UnorderedSeen int     `json:"unordered_seen"`
	Extra         int     `json:"extra"`
	Opened        int     `json:"opened"`
	Closed        int     `json:"closed"`
}

var (
	seen     report
	seenLock sync.Mutex
	opened   = make(chan *webrtc.DataChannel, 64)
	closed   = make(chan *webrtc.DataChannel, 64)
	back     = make(chan message, 65536)
	over     = make(chan bool)
	outLock  sync.Mutex
)

func printLine(v interface{}) {
	text, err := json.Marshal(v)
	must(err)
	outLock.Lock()
	fmt.Println(string(text))
	outLock.Unlock()
}

func printReport() {
	seenLock.Lock()
	printLine(map[string]report{"report": seen})
	seenLock.Unlock()
}

func must(err error) {
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "pion_peer:", err)
	text := err.Error()
	seen.Failure = &text
	line, _ := json.Marshal(map[string]report{"report": seen})
	fmt.Println(string(line))
	os.Exit(1)
}

// reply sends m. An empty message goes out as one, because pion knows the payload protocol ids for it.
func reply(d *webrtc.DataChannel, m webrtc.DataChannelMessage) error {
	if m.IsString {
		return d.SendText(string(m.Data))
	}
	return d.Send(m.Data)
}

func use(d *webrtc.DataChannel, drive bool) {
	d.OnOpen(func() {
		seenLock.Lock()
		seen.Opened++
		seenLock.Unlock()
		opened <- d
	})
	d.OnClose(func() {
		seenLock.Lock()
		seen.Closed++
		seenLock.Unlock()
		closed <- d
	})
	d.OnMessage(func(m webrtc.DataChannelMessage) {
		if drive {
			back <- message{d, m}
			return
		}
		if reply(d, m) != nil {
			return
		}
		seenLock.Lock()
		defer seenLock.Unlock()
		switch d.Label() {
		case "reliable":
			seen.Messages++
			seen.Bytes += len(m.Data)
		case "unordered":
			seen.UnorderedSeen++
		default:
			seen.Extra++
		}
	})
}

func add(h hash.Hash, m webrtc.DataChannelMessage) {
	fmt.Fprint(h, m.IsString, len(m.Data), ":")
	h.Write(m.Data)
}

func fill(m *webrtc.DataChannelMessage) {
	rand.Read(m.Data)
	for k := range m.Data {
		if m.IsString {
			m.Data[k] = 'a' + m.Data[k]%26
		}
	}
}

func nextLength(i, n, size int) int {
	if i == 0 {
		return 1
	} else if i == n-1 {
		return size
	}
	octaves := 0
	for 2<<octaves < size {
		octaves++
	}
	low := 1 << rand.Intn(octaves+1)
	length := low + rand.Intn(low)
	if length > size {
		return size
	}
	return length
}

func driveReliable(d *webrtc.DataChannel, n, size int) {
	sent, echoed := sha256.New(), sha256.New()
	waiting := 0
	take := func() {
		select {
		case m := <-back:
			add(echoed, m.DataChannelMessage)
			waiting -= len(m.Data)
			seen.Messages++
			seen.Bytes += len(m.Data)
		case <-time.After(limit):
			must(fmt.Errorf("%d of %d messages came back", seen.Messages, n))
		}
	}
	for i := 0; i < n; i++ {
		m := webrtc.DataChannelMessage{IsString: i%4 == 3, Data: make([]byte, nextLength(i, n, size))}
		fill(&m)
		add(sent, m)
		must(reply(d, m))
		for waiting += len(m.Data); waiting > window; {
			take()
		}
	}
	for seen.Messages < n {
		take()
	}
	if !bytes.Equal(sent.Sum(nil), echoed.Sum(nil)) {
		must(fmt.Errorf("what came back differs"))
	}
}

func driveUnordered(d *webrtc.DataChannel, n int) {
	known := make([]bool, n)
	note := func(m message) {
		if len(m.Data) != pacedBytes || known[binary.BigEndian.Uint32(m.Data)] {
			must(fmt.Errorf("a paced message came back twice or changed"))
		}
		known[binary.BigEndian.Uint32(m.Data)] = true
		seen.UnorderedSeen++
	}
	printLine(map[string]int{"paced": 1})
	start := time.Now()
	for seen.UnorderedSent < n {
		due := int(time.Since(start) / time.Millisecond)
		for ; seen.UnorderedSent < n && seen.UnorderedSent < due; seen.UnorderedSent++ {
			data := make([]byte, pacedBytes)
			binary.BigEndian.PutUint32(data, uint32(seen.UnorderedSent))
			must(d.Send(data))
		}
		select {
		case m := <-back:
			note(m)
		case <-time.After(time.Millisecond):
		}
	}
	for seen.UnorderedSeen < n {
		select {
		case m := <-back:
			note(m)
		case <-time.After(stray):
			return
		}
	}
}

func await(c chan *webrtc.DataChannel, what string) *webrtc.DataChannel {
	select {
	case d := <-c:
		return d
	case <-time.After(closeLimit):
		must(fmt.Errorf("a channel was not %s", what))
		return nil
	}
}

func extraOptions(i int) *webrtc.DataChannelInit {
	plenty, lifetime, ordered, protocol := extraPlenty, extraLifetim, i%2 == 0, "interop"
	o := &webrtc.DataChannelInit{Ordered: &ordered, Protocol: &protocol}
	if i/2 == 1 {
		o.MaxRetransmits = &plenty
	} else if i/2 == 2 {
		o.MaxPacketLifeTime = &lifetime
	}
	return o
}

func extraRound(pc *webrtc.PeerConnection, big int) {
	expected := map[string]int{}
	key := func(d *webrtc.DataChannel, m webrtc.DataChannelMessage) string {
		return fmt.Sprint(d.Label(), m.IsString, len(m.Data), sha256.Sum256(m.Data))
	}
	var channels []*webrtc.DataChannel
	for i := 0; i < extraCount; i++ {
		d, err := pc.CreateDataChannel(fmt.Sprint("extra ", i), extraOptions(i))
		must(err)
		use(d, true)
		channels = append(channels, d)
	}
	for range channels {
		await(opened, "opened")
	}
	waiting := 0
	for _, d := range channels {
		for i, length := range []int{0, 0, 1, big, 1000} {
			m := webrtc.DataChannelMessage{IsString: i == 0 || i == 4, Data: make([]byte, length)}
			fill(&m)
			expected[key(d, m)]++
			must(reply(d, m))
			waiting++
		}
	}
	for ; waiting > 0; waiting-- {
		select {
		case m := <-back:
			if expected[key(m.channel, m.DataChannelMessage)]--; expected[key(m.channel, m.DataChannelMessage)] < 0 {
				must(fmt.Errorf("a message on a further channel changed: %d bytes", len(m.Data)))
			}
			seen.Extra++
		case <-time.After(limit):
			must(fmt.Errorf("%d messages on further channels are missing", waiting))
		}
	}
	for _, d := range channels {
		must(d.Close())
	}
	for range channels {
		await(closed, "closed")
	}
}

func readLines(pc *webrtc.PeerConnection, described chan webrtc.SessionDescription) {
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			close(over)
			return
		}
		var line struct {
			webrtc.SessionDescription
			Candidate *string `json:"candidate"`
			Mid       *string `json:"sdpMid"`
		}
		must(json.Unmarshal(text, &line))
		if line.Candidate == nil {
			must(pc.SetRemoteDescription(line.SessionDescription))
			described <- line.SessionDescription
		} else {
			must(pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: *line.Candidate, SDPMid: line.Mid}))
		}
	}
}

// setLocal takes the description and prints it: at once and then each candidate, or with all of them inside.
func setLocal(pc *webrtc.PeerConnection, d webrtc.SessionDescription, trickle bool) {
	gathered := webrtc.GatheringCompletePromise(pc)
	held := make(chan *webrtc.ICECandidate, 256)
	if trickle {
		pc.OnICECandidate(func(c *webrtc.ICECandidate) { held <- c })
	}
	must(pc.SetLocalDescription(d))
	if !trickle {
		<-gathered
		printLine(pc.LocalDescription())
		return
	}
	printLine(d)
	go func() {
		for c := range held {
			init := webrtc.ICECandidateInit{}
			if c != nil {
				init = c.ToJSON()
			}
			printLine(init)
			if c == nil {
				return
			}
		}
	}()
}

func main() {
	var n, size, unordered, big int
	var drive, trickle bool
	config := webrtc.Configuration{}
	number := func(i int) int { v, err := strconv.Atoi(os.Args[i]); must(err); return v }
	for i := 2; i < len(os.Args); i++ {
		switch os.Args[i] {
		case "--trickle":
			trickle = true
		case "--stun":
			config.ICEServers = []webrtc.ICEServer{{URLs: []string{"stun:" + os.Args[i+1]}}}
			i++
		case "--extra":
			big = number(i + 1)
			i++
		case "--drive":
			drive, n, size, unordered = true, number(i+1), number(i+2), number(i+3)
			i += 3
		}
	}
	logs := logging.NewDefaultLoggerFactory()
	logs.Writer = os.Stderr // the standard output is for signaling
	api := webrtc.NewAPI(webrtc.WithSettingEngine(webrtc.SettingEngine{LoggerFactory: logs}))
	pc, err := api.NewPeerConnection(config)
	must(err)
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) { fmt.Fprintln(os.Stderr, "pion", s) })
	pc.OnDataChannel(func(d *webrtc.DataChannel) {
		use(d, drive)
		if strings.HasPrefix(d.Label(), "mirror ") {
			ordered, protocol := d.Ordered(), d.Protocol()
			number := func(n *uint16) int {
				if n == nil {
					return -1
				}
				return int(*n)
			}
			told := fmt.Sprintf("|%d|%d|%d|", map[bool]int{true: 1}[ordered], number(d.MaxRetransmits()),
				number(d.MaxPacketLifeTime()))
			back, err := pc.CreateDataChannel(d.Label()+told, &webrtc.DataChannelInit{Ordered: &ordered, Protocol: &protocol,
				MaxRetransmits: d.MaxRetransmits(), MaxPacketLifeTime: d.MaxPacketLifeTime()})
			must(err)
			use(back, drive)
		}
	})
	described := make(chan webrtc.SessionDescription, 1)
	if os.Args[1] == "offer" {
		no, none := false, uint16(0)
		for label, o := range map[string]*webrtc.DataChannelInit{
			"reliable": nil, "unordered": {Ordered: &no, MaxRetransmits: &none}} {
			d, err := pc.CreateDataChannel(label, o)
			must(err)
			use(d, drive)
		}
		o, err := pc.CreateOffer(nil)
		must(err)
		setLocal(pc, o, trickle)
		go readLines(pc, described)
		<-described
	} else {
		go readLines(pc, described)
		<-described
		a, err := pc.CreateAnswer(nil)
		must(err)
		setLocal(pc, a, trickle)
	}
	if drive {
		first := map[string]*webrtc.DataChannel{}
		for len(first) < 2 {
			select {
			case d := <-opened:
				first[d.Label()] = d
			case <-over:
				must(fmt.Errorf("no channels"))
			}
		}
		driveReliable(first["reliable"], n, size)
		if unordered > 0 {
			driveUnordered(first["unordered"], unordered)
		}
		for i := 0; big > 0 && i < extraRounds; i++ {
			extraRound(pc, big)
		}
		for _, d := range first {
			must(d.Close())
		}
		for range first {
			await(closed, "closed")
		}
	} else {
		<-over
	}
	_ = pc.Close() // says so when the other side closed first
	printReport()
}
