// SPDX-License-Identifier: AGPL-3.0-or-later

package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"horde/client"
)

// exampleHorde is a horde that finishes every request at once.
func exampleHorde() *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/generate/text/async", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, `{"id":"51fd2d28-6b21-4b0a-a6b3-0e3f1c2d4e5f","kudos":0}`)
	})
	mux.HandleFunc("GET /api/v2/generate/text/status/{id}", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"done":true,"finished":1,"kudos":4,"generations":[{"text":" upon a time","model":"demo","worker_name":"w"}]}`)
	})
	mux.HandleFunc("POST /api/v2/generate/async", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("apikey") == "wrong" {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"message":"No user matching sent API Key.","rc":"InvalidAPIKey"}`)
			return
		}
		io.WriteString(w, `{"kudos":10}`)
	})
	return httptest.NewServer(mux)
}

func ExampleClient_GenerateText() {
	horde := exampleHorde()
	defer horde.Close()
	c, err := client.New(horde.URL, client.AnonymousKey, client.WithAgent("example:1:https://example.org"))
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := c.GenerateText(context.Background(), client.TextRequest{
		Prompt: "Once",
		Params: client.TextParams{MaxLength: 40, Temperature: new(0.7)},
	}, func(s client.Status) { fmt.Println("finished:", s.Finished) })
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%q for %v kudos\n", out.Texts[0].Text, out.Status.Kudos)
	// Output:
	// finished: 1
	// " upon a time" for 4 kudos
}

func ExampleClient_SubmitImage_price() {
	horde := exampleHorde()
	defer horde.Close()
	c, _ := client.New(horde.URL+"/api/", "")
	sub, err := c.SubmitImage(context.Background(), client.ImageRequest{Prompt: "a lighthouse", DryRun: true})
	fmt.Println(sub.Kudos, err)
	// Output: 10 <nil>
}

func ExampleHasCode() {
	horde := exampleHorde()
	defer horde.Close()
	c, _ := client.New(horde.URL, "wrong")
	_, err := c.SubmitImage(context.Background(), client.ImageRequest{Prompt: "a lighthouse"})
	fmt.Println(client.HasCode(err, "InvalidAPIKey"))
	// Output: true
}
