// SPDX-License-Identifier: AGPL-3.0-or-later

package trust

import (
	"fmt"

	"horde/internal/fediseer"
)

// The texts of private messages, in Markdown. All but the first end with where to ask.

func (s *Service) sign(text string) string {
	return text + "\n\nThis message was sent automatically by the Fediseer at " + s.cfg.GUI + ". Questions: " + s.cfg.Contact
}

// textKey holds the key alone in a paragraph, so that it can be copied and found by a program.
func (s *Service) textKey(d fediseer.Domain, key string) string {
	return s.sign(fmt.Sprintf("You claimed %s. This is your API key:\n\n%s\n\nWhoever has it acts for your instance. Keep it in a safe place and delete this message, or reset the key later and have the new one returned instead of sent.", d, key))
}

func (s *Service) textReset(d fediseer.Domain, by, key string, returned bool) string {
	if returned {
		return s.sign(fmt.Sprintf("%s has reset your API key for %s. The new key was returned to them directly; the old one no longer works.", by, d))
	}
	return s.sign(fmt.Sprintf("%s has reset your API key for %s. The old one no longer works. This is the new one:\n\n%s\n\nKeep it in a safe place and delete this message.", by, d, key))
}

func (s *Service) textProxy(d fediseer.Domain, by string, from, to fediseer.PMProxy) string {
	return s.sign(fmt.Sprintf("%s has switched the way in which messages reach the admins of %s from %s to %s.", by, d, from, to))
}

func (s *Service) textGuaranteed(by, d fediseer.Domain) string {
	return s.sign(fmt.Sprintf("Your instance %s is now guaranteed by %s. It belongs to the chain of trust and can guarantee and judge others.", d, by))
}

func (s *Service) textRepaired(by, at, d fediseer.Domain) string {
	return s.sign(fmt.Sprintf("The chain of trust of your instance %s is whole again: %s guarantees %s.", d, by, at))
}

func (s *Service) textWithdrawn(by, d fediseer.Domain) string {
	return s.sign(fmt.Sprintf("The guarantee for your instance %s was withdrawn by %s. Until another instance guarantees it, it cannot act, and what it said may be removed after 7 days.", d, by))
}

func (s *Service) textBroken(by, at, d fediseer.Domain) string {
	return s.sign(fmt.Sprintf("The chain of trust of your instance %s is broken: the guarantee for %s was withdrawn by %s. Unless it is repaired within 24 hours, your instance disappears from the lists; you can look for another guarantor.", d, at, by))
}

func (s *Service) textEndorsement(by, d fediseer.Domain, a fediseer.ReportActivity, reason *string) string {
	if a == fediseer.Deleted {
		return s.sign(fmt.Sprintf("%s has withdrawn its endorsement of your instance %s.", by, d))
	}
	text := fmt.Sprintf("Your instance %s was endorsed by %s.", d, by)
	if reason != nil && *reason != "" {
		text += " Reason: " + *reason
	}
	return s.sign(text)
}

func (s *Service) textSolicitation(by, d fediseer.Domain, comment *string) string {
	text := fmt.Sprintf("%s asks your instance %s for a guarantee.", by, d)
	if comment != nil {
		text += "\n\n" + *comment
	}
	return s.sign(text)
}
