// Reads forms as Go's net/http does (ParseMultipartForm, ParseForm), with its standard library alone: a JSON line with a
// content type and a body for each form comes in, a JSON line with the values of its field "model" goes out.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"mime"
	"mime/multipart"
	"net/url"
	"os"
)

type form struct {
	ContentType string `json:"contentType"`
	Body        []byte `json:"body"`
}

func modelsOf(f form) []string {
	kind, params, err := mime.ParseMediaType(f.ContentType)
	if err != nil {
		return nil
	}
	if kind == "application/x-www-form-urlencoded" {
		// As in net/http, what could be read counts beside an error.
		values, _ := url.ParseQuery(string(f.Body))
		return values["model"]
	}
	boundary, isNamed := params["boundary"]
	if !isNamed || (kind != "multipart/form-data" && kind != "multipart/mixed") {
		return nil
	}
	read, err := multipart.NewReader(bytes.NewReader(f.Body), boundary).ReadForm(32 << 20)
	if err != nil {
		return nil
	}
	return read.Value["model"]
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	decoder := json.NewDecoder(in)
	encoder := json.NewEncoder(out)
	for {
		var f form
		if decoder.Decode(&f) != nil {
			return
		}
		models := modelsOf(f)
		if models == nil {
			models = []string{}
		}
		if encoder.Encode(models) != nil {
			return
		}
	}
}
