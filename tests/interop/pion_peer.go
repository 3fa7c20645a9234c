// SPDX-License-Identifier: MIT

// pion_peer offer|answer [N SIZE]: the other side of rtc_echo, made of pion. With N and SIZE it sends and compares
// the echoes, then closes the channel and the connection; without, it echoes until the connection is over.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pion/webrtc/v3"
)

const window = 1 << 20 // bytes sent and not yet echoed

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "pion_peer:", err)
		os.Exit(1)
	}
}

func readDescription() (d webrtc.SessionDescription) {
	line, err := bufio.NewReaderSize(os.Stdin, 1<<20).ReadString('\n')
	must(err)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
	must(err)
	must(json.Unmarshal(raw, &d))
	return d
}

// setLocal takes the description and prints it once all candidates are in it.
func setLocal(pc *webrtc.PeerConnection, d webrtc.SessionDescription) {
	gathered := webrtc.GatheringCompletePromise(pc)
	must(pc.SetLocalDescription(d))
	<-gathered
	text, err := json.Marshal(pc.LocalDescription())
	must(err)
	fmt.Println(base64.StdEncoding.EncodeToString(text))
}

func reply(d *webrtc.DataChannel, m webrtc.DataChannelMessage) {
	if m.IsString {
		must(d.SendText(string(m.Data)))
	} else {
		must(d.Send(m.Data))
	}
}

func add(h hash.Hash, m webrtc.DataChannelMessage) {
	fmt.Fprint(h, m.IsString, len(m.Data), ":")
	h.Write(m.Data)
}

func message(r *rand.Rand, i, n, size int) webrtc.DataChannelMessage {
	length := 1 + r.Intn(size)
	if i == 0 {
		length = 1
	} else if i == n-1 {
		length = size
	}
	m := webrtc.DataChannelMessage{IsString: i%4 == 3, Data: make([]byte, length)}
	r.Read(m.Data)
	for k := range m.Data {
		if m.IsString {
			m.Data[k] = 'a' + m.Data[k]%26
		}
	}
	return m
}

func send(d *webrtc.DataChannel, echoes chan webrtc.DataChannelMessage, n, size int) {
	r := rand.New(rand.NewSource(1))
	sent, echoed := sha256.New(), sha256.New()
	waiting, received := 0, 0
	take := func() {
		select {
		case m := <-echoes:
			add(echoed, m)
			waiting -= len(m.Data)
			received++
		case <-time.After(60 * time.Second):
			must(fmt.Errorf("%d of %d echoes", received, n))
		}
	}
	for i := 0; i < n; i++ {
		m := message(r, i, n, size)
		add(sent, m)
		reply(d, m)
		for waiting += len(m.Data); waiting > window; {
			take()
		}
	}
	for received < n {
		take()
	}
	if !bytes.Equal(sent.Sum(nil), echoed.Sum(nil)) {
		must(fmt.Errorf("the echoes differ"))
	}
	fmt.Println("echoes are equal")
}

func main() {
	n, size := 0, 0
	if len(os.Args) == 4 {
		n, _ = strconv.Atoi(os.Args[2])
		size, _ = strconv.Atoi(os.Args[3])
	}
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	must(err)
	ended := make(chan bool, 16)
	closed := make(chan bool, 16)
	opened := make(chan *webrtc.DataChannel, 1)
	echoes := make(chan webrtc.DataChannelMessage, 4096)
	use := func(d *webrtc.DataChannel) {
		d.OnOpen(func() { opened <- d })
		d.OnClose(func() { closed <- true })
		d.OnMessage(func(m webrtc.DataChannelMessage) {
			if n > 0 {
				echoes <- m
			} else {
				reply(d, m)
			}
		})
	}
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		fmt.Fprintln(os.Stderr, "pion", s)
		if s >= webrtc.PeerConnectionStateDisconnected {
			ended <- true
		}
	})
	pc.OnDataChannel(use)
	if os.Args[1] == "offer" {
		d, err := pc.CreateDataChannel("interop", nil)
		must(err)
		use(d)
		o, err := pc.CreateOffer(nil)
		must(err)
		setLocal(pc, o)
		must(pc.SetRemoteDescription(readDescription()))
	} else {
		must(pc.SetRemoteDescription(readDescription()))
		a, err := pc.CreateAnswer(nil)
		must(err)
		setLocal(pc, a)
	}
	d := <-opened
	if n > 0 {
		send(d, echoes, n, size)
		must(d.Close())
	}
	select {
	case <-closed:
		fmt.Println("channel closed")
	case <-time.After(150 * time.Second):
		must(fmt.Errorf("the channel was not closed"))
	}
	if n == 0 {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
		}
	}
	_ = pc.Close() // says so when the other side closed first
}
