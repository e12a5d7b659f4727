// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

// Node is what the public statistics of the fediverse say about a Lemmy instance.
type Node struct {
	Domain             string  `json:"domain"`
	UptimeAllTime      float64 `json:"uptime_alltime"`
	LocalPosts         int64   `json:"local_posts"`
	CommentCounts      int64   `json:"comment_counts"`
	TotalUsers         int64   `json:"total_users"`
	ActiveUsersMonthly int64   `json:"active_users_monthly"`
	Signup             bool    `json:"signup"`
}

const (
	// minSuspectUsers spares small instances.
	minSuspectUsers = 300
	// maxActivityPerUser is the activity per user above which an instance looks like a posting machine.
	maxActivityPerUser = 400
)

// Suspicion weighs a node: activity is users per post or comment, active is users per monthly active user. Both stand in
// for a division by zero with one post and half a user. The node is suspect when it has at least 300 users and activity
// or active is above its limit, or every user posts more than 400 times.
func (n Node) Suspicion(activityLimit, activeLimit float64) (activity, active float64, suspect bool) {
	users := float64(n.TotalUsers)
	posts := float64(n.LocalPosts + n.CommentCounts)
	if posts <= 0 {
		posts = 1
	}
	monthly := float64(n.ActiveUsersMonthly)
	if monthly <= 0 {
		monthly = 0.5
	}
	activity, active = users/posts, users/monthly
	suspect = n.TotalUsers >= minSuspectUsers &&
		(activity > activityLimit || posts/users > maxActivityPerUser || active > activeLimit)
	return activity, active, suspect
}
