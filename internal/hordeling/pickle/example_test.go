// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle_test

import (
	"context"
	"errors"
	"fmt"

	"horde/internal/hordeling/pickle"
)

func ExampleDecode() {
	stream := []byte("\x80\x02}X\x04\x00\x00\x00stepM\xf4\x01s.") // pickle.dumps({"step": 500}, 2)
	result, err := pickle.Decode(context.Background(), stream, pickle.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	step, _ := result.Root.(*pickle.Dict).Get("step")
	fmt.Println(step)
	// Output: 500
}

// A stream that would run a program is refused at the opcode that would have fetched the function.
func ExampleDecode_refusal() {
	stream := []byte("\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.")
	_, err := pickle.Decode(context.Background(), stream, pickle.Options{Where: "data.pkl"})
	var refusal *pickle.Refusal
	if errors.As(err, &refusal) {
		fmt.Println(refusal.Code, refusal.Offset)
	}
	fmt.Println(err)
	// Output:
	// UnsafePickle 2
	// UnsafePickle: GLOBAL: the symbol "posix" "system" is not on the list at byte 2 of data.pkl
}

func ExampleTrace() {
	stream := []byte("\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.")
	_, err := pickle.Trace(context.Background(), stream, func(s pickle.Step) error {
		if s.Dangerous {
			fmt.Println(s.Offset, s.Op.Name, s.Effect)
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// 2 GLOBAL import posix.system
	// 24 REDUCE call posix.system("id",)
	// <nil>
}
