package oauth

import (
	"html/template"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// formPostTemplate is the page of OAuth 2.0 Form Post Response Mode, section 2.
// Without script the person presses the button.
var formPostTemplate = template.Must(template.New("form_post").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Continue</title></head>
<body>
<form method="post" action="{{.Action}}">
{{- range .Fields}}
<input type="hidden" name="{{index . 0}}" value="{{index . 1}}">
{{- end}}
<noscript><button type="submit">Continue</button></noscript>
</form>
<script nonce="{{.Nonce}}">document.forms[0].submit()</script>
</body>
</html>
`))

// respondFormPost answers with a page that posts the parameters to the redirect
// URI, which the caller has found registered. The policy names no form-action:
// browsers apply it also to where the client redirects after the post.
func respondFormPost(w http.ResponseWriter, uri string, list []parameter) {
	fields := make([][2]string, len(list))
	for i, p := range list {
		fields[i] = [2]string{p.name, p.value}
	}
	nonce := tenancy.NewToken()
	secureHTML(w.Header(), "default-src 'none'; script-src 'nonce-"+nonce+"'; base-uri 'none'; frame-ancestors 'none'")
	w.Header().Set("X-Frame-Options", "DENY")
	writeHTML(w, http.StatusOK, formPostTemplate, map[string]any{
		"Nonce": nonce, "Action": template.URL(uri), "Fields": fields,
	})
}
