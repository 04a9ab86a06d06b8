package oauth

import (
	"encoding/json"
	"html/template"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// webMessageTemplate is the page of contract C3.14 and C3.15. The message is
// JSON in which everything that could end the script is escaped.
var webMessageTemplate = template.Must(template.New("web_message").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Authorization response</title></head>
<body>
<script nonce="{{.Nonce}}">(window.opener || window.parent).postMessage({{.Message}}, {{.Origin}});</script>
</body>
</html>
`))

// webMessage is what the page posts.
type webMessage struct {
	Type     string            `json:"type"`
	Response map[string]string `json:"response"`
}

// respondWebMessage answers with a page that posts the parameters to the window
// that opened or framed it, if that is of the redirect URI's origin. The caller
// has checked that the origin is registered (C3.3).
func respondWebMessage(w http.ResponseWriter, uri string, list []parameter) {
	origin := tenancy.OriginOf(uri)
	message := webMessage{Type: "authorization_response", Response: make(map[string]string, len(list))}
	for _, p := range list {
		message.Response[p.name] = p.value
	}
	nonce := tenancy.NewToken()
	secureHTML(w.Header(), "default-src 'none'; script-src 'nonce-"+nonce+"'; base-uri 'none'; frame-ancestors "+origin)
	writeHTML(w, http.StatusOK, webMessageTemplate, map[string]any{
		"Nonce": nonce, "Message": scriptValue(message), "Origin": scriptValue(origin),
	})
}

// scriptValue is v as a JavaScript expression that is safe inside of a script
// element: encoding/json escapes <, >, &, U+2028 and U+2029 (C3.17).
func scriptValue(v any) template.JS {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and maps of strings always marshal
	}
	return template.JS(b)
}
