// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"fmt"
	"math"
)

// Kudos is an amount of the unit of account, in hundredths. Amounts are computed as float64 from formulas, turned into
// Kudos once, when they are posted, and only ever added as Kudos.
type Kudos int64

// NewKudos rounds a computed price to hundredths, halves to even.
func NewKudos(x float64) Kudos { return Kudos(math.RoundToEven(x * 100)) }

// Float is the amount in kudos, as answers show it.
func (k Kudos) Float() float64 { return float64(k) / 100 }

// Whole is the amount rounded to whole kudos, halves to even: what the public fields show.
func (k Kudos) Whole() int64 { return int64(math.RoundToEven(k.Float())) }

func (k Kudos) String() string {
	sign := ""
	if k < 0 {
		sign, k = "-", -k
	}
	return fmt.Sprintf("%s%d.%02d", sign, k/100, k%100)
}
