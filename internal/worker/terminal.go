// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// redraw is the time between two pictures of the status block.
const redraw = 250 * time.Millisecond

// screen shows the board on a terminal: log lines scroll, the block under them is redrawn in place. mu guards the
// terminal; Write may be called at any time.
type screen struct {
	out   io.Writer
	board *board
	mu    sync.Mutex
	lines int // height of the block on the terminal now
}

func newScreen(out io.Writer, b *board) *screen { return &screen{out: out, board: b} }

// Write prints log lines above the block.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b bytes.Buffer
	s.erase(&b)
	b.Write(bytes.ReplaceAll(p, []byte("\x1b"), nil))
	_, err := s.out.Write(b.Bytes())
	return len(p), err
}

// run redraws until done is closed, and leaves the last block standing.
func (s *screen) run(done <-chan struct{}) {
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		s.draw()
		select {
		case <-done:
			s.draw()
			return
		case <-tick.C:
		}
	}
}

func (s *screen) draw() {
	width, height := 80, 24
	if f, ok := s.out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 20 && h > 5 {
			width, height = w, h
		}
	}
	lines := Render(s.board.snapshot(), time.Now(), width)
	if len(lines) > height-2 {
		lines = lines[:height-2]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var b bytes.Buffer
	s.erase(&b)
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	s.lines = len(lines)
	_, _ = s.out.Write(b.Bytes())
}

// erase moves the cursor to where the block began and clears from there. mu is held.
func (s *screen) erase(b *bytes.Buffer) {
	if s.lines > 0 {
		fmt.Fprintf(b, "\x1b[%dF\x1b[J", s.lines)
	}
	s.lines = 0
}

const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	red   = "\x1b[31m"
	green = "\x1b[32m"
	plain = "\x1b[0m"
)

// Render draws the status as lines of at most width characters, with colours.
func Render(s Status, now time.Time, width int) []string {
	up := now.Sub(s.Started)
	head := fmt.Sprintf("%s  %s", s.Horde, span(up))
	if s.Username != "" {
		head += fmt.Sprintf("  %s, %.0f kudos", s.Username, s.Kudos)
	}
	if s.Draining {
		head += "  stopping"
	}
	out := []string{dim + strings.Repeat("─", min(width, 100)) + plain, styled(bold, head, width)}
	for _, k := range s.Workers {
		out = append(out, renderKind(k, now, up, width)...)
	}
	for _, m := range s.Messages {
		out = append(out, styled(green, "message: "+m.Text+" ("+m.Origin+")", width))
	}
	for _, w := range s.Warnings {
		out = append(out, styled(red, "warning: "+w, width))
	}
	return out
}

func renderKind(k KindStatus, now time.Time, up time.Duration, width int) []string {
	colour := green
	if !k.Healthy || k.Maintenance || strings.Contains(k.State, "paused") {
		colour = red
	}
	out := []string{styled(colour, fmt.Sprintf("%s %q  %s  on %s", k.Kind, k.Name, k.State, k.Backend), width)}
	perHour := 0.0
	if up > time.Minute {
		perHour = k.Earned / up.Hours()
	}
	line := fmt.Sprintf("  %d done, %d faulted, %d late   %.1f kudos", k.Submitted, k.Faulted, k.Slow+k.Lost, k.Earned)
	if perHour > 0 {
		line += fmt.Sprintf(" (%.0f an hour)", perHour)
	}
	if k.Speed > 0 {
		line += fmt.Sprintf("   %.1f %s", k.Speed, k.Unit)
	}
	out = append(out, clip(line, width))
	models := strings.Join(k.Models[:min(len(k.Models), 3)], ", ")
	if len(k.Models) > 3 {
		models += fmt.Sprintf(" and %d more", len(k.Models)-3)
	}
	out = append(out, styled(dim, "  "+models, width))
	if t := skippedText(k.Skipped); t != "" && len(k.Jobs) == 0 {
		out = append(out, styled(dim, "  not for this worker: "+t, width))
	}
	for _, j := range k.Jobs {
		id := j.ID[:min(8, len(j.ID))]
		left := span(max(0, j.Deadline.Sub(now)))
		out = append(out, clip(fmt.Sprintf("  %s %s %-18s %s  %s left", id, bar(j.Step, j.Steps), j.Stage, j.What, left), width))
	}
	return out
}

const barWidth = 16

func bar(step, steps int) string {
	if steps <= 0 {
		return strings.Repeat("·", barWidth)
	}
	n := min(barWidth, step*barWidth/steps)
	return strings.Repeat("█", n) + strings.Repeat("░", barWidth-n)
}

// span writes a duration for people.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

func styled(style, text string, width int) string { return style + clip(text, width) + plain }

// clip makes a text from outside fit for one line: control characters go, and what is too long is cut.
func clip(text string, width int) string {
	r := []rune(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, text))
	if len(r) > width {
		return string(r[:max(0, width-1)]) + "…"
	}
	return string(r)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
