// SPDX-License-Identifier: AGPL-3.0-or-later

// Package comfyui drives ComfyUI. A job becomes a graph of ComfyUI's nodes (graph.go and its neighbours, pure
// functions), the graph is queued and followed over a WebSocket, or by polling where that is not to be had (run.go), and
// what a server can do is read from the node classes that it has (probe.go).
package comfyui
