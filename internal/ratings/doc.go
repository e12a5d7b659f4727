// SPDX-License-Identifier: AGPL-3.0-or-later

// Package ratings is what people think of images: how good each is (1 to 10), and how broken (0 to 5).
package ratings
