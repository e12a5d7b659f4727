// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

import "context"

// olderReason is why a stream of protocol 0 or 1 is not read.
const olderReason = "pickle protocols 0 and 1 are not read; save the file again with protocol 2 or newer"

// RefuseOlder judges the stream of protocol 0 or 1 at the start of data, which is never read: its error is never nil. It
// is a [*Refusal] with Unsafe at the first opcode that would have imported, called or changed something that is not on
// the allow list, with Corrupt or TooComplex where the stream cannot be followed, and else with Unsupported; or it is
// the context's error. With Unsupported it also returns how many bytes the stream takes. Of opt, Where and BaseOffset
// are used.
func RefuseOlder(ctx context.Context, data []byte, opt Options) (int64, error) {
	var unsafe *Refusal
	consumed, err := Trace(ctx, data, func(s Step) error {
		if !s.Dangerous {
			return nil
		}
		unsafe = Refuse(Unsafe, "", s.Offset, "it would %s", cutText(s.Effect))
		unsafe.Op = s.Op.Name
		return unsafe
	})
	if err == nil {
		return consumed, Refuse(Unsupported, "", -1, olderReason)
	}
	return 0, opt.place(err)
}

// place fills in where a refusal is, and leaves other errors as they are.
func (o *Options) place(err error) error {
	r, ok := err.(*Refusal)
	if !ok {
		return err
	}
	r.Where = o.Where
	if r.Offset >= 0 {
		r.Offset += o.BaseOffset
	}
	return r
}

// stoppedAtOlder tells whether r, the refusal of a stream, is due to its protocol alone: the stream says that it has
// protocol 0 or 1, or says nothing and has an opcode that only these write.
func (m *machine) stoppedAtOlder(r *Refusal) bool {
	switch r.Op {
	case "":
		return false
	case "PROTO":
		return r.Code == Unsupported && m.in.num < 2
	case "STOP":
		return r.Code == Unsupported && m.proto == 0
	}
	op := opcodes[m.scan.data[r.Offset]]
	return r.Code == Unsafe && m.proto == 0 && !op.Accepted && op.Proto < 2
}
