package management

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// emailTemplateRoutes are those on how mail is written (contract C5.95). What is
// read is in effect, own or inherited. To remove the tenant's own, so that it
// inherits again, is an update: there is no scope for more.
var emailTemplateRoutes = []route{
	write(http.MethodPost, "/email-templates", http.StatusOK, createEmailTemplate, "create:email_templates"),
	get("/email-templates/{template}", readEmailTemplate, "read:email_templates"),
	write(http.MethodPatch, "/email-templates/{template}", http.StatusOK, changeEmailTemplate, "update:email_templates"),
	write(http.MethodPut, "/email-templates/{template}", http.StatusOK, replaceEmailTemplate, "update:email_templates"),
	write(http.MethodDelete, "/email-templates/{template}", http.StatusNoContent, removeEmailTemplate, "update:email_templates"),
}

const templateEntity = "Email template"

func readEmailTemplate(ctx context.Context, c *Call) (any, error) {
	t, err := found(tenancy.EmailTemplateOf(ctx, c.param("template")))(templateEntity)
	if err != nil {
		return nil, err
	}
	o := render(t)
	c.shape(&o)
	return o, nil
}

func createEmailTemplate(ctx context.Context, c *Call) (any, error) {
	doc, err := c.object()
	if err != nil {
		return nil, err
	}
	wish, err := laidOver(tenancy.NewEmailTemplate(""), doc)
	if err != nil {
		return nil, err
	}
	name := wish.Template
	switch {
	case name == "":
		return nil, invalid("", "Missing required property: template")
	case !slices.Contains(tenancy.EmailTemplateNames, name):
		return nil, invalid("template", "No enum match for: %s", name)
	}
	return c.writeTemplate(ctx, name, func(now *tenancy.EmailTemplate) (*tenancy.EmailTemplate, error) {
		if now != nil && now.Source == tenancy.SourceOwn {
			return nil, conflict(templateEntity, "The template %s is there already; change it with PATCH", name)
		}
		return wish, nil
	})
}

// templateGiven is the template in effect that a request names, and what it says.
func templateGiven(ctx context.Context, c *Call) (name string, doc document, err error) {
	name = c.param("template")
	if _, err := found(tenancy.EmailTemplateOf(ctx, name))(templateEntity); err != nil {
		return "", nil, err
	}
	doc, err = c.object()
	return name, doc, err
}

func changeEmailTemplate(ctx context.Context, c *Call) (any, error) {
	name, doc, err := templateGiven(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.writeTemplate(ctx, name, func(now *tenancy.EmailTemplate) (*tenancy.EmailTemplate, error) {
		if now == nil {
			return nil, missing(templateEntity)
		}
		return laidOver(now, doc)
	})
}

// replaceEmailTemplate writes the whole template that is in effect anew.
func replaceEmailTemplate(ctx context.Context, c *Call) (any, error) {
	name, doc, err := templateGiven(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.writeTemplate(ctx, name, func(*tenancy.EmailTemplate) (*tenancy.EmailTemplate, error) {
		return laidOver(tenancy.NewEmailTemplate(name), doc)
	})
}

func removeEmailTemplate(ctx context.Context, c *Call) (any, error) {
	err := tenancy.ChangeEmailTemplate(ctx, c.param("template"), func(now *tenancy.EmailTemplate) (*tenancy.EmailTemplate, error) {
		if now == nil || now.Source != tenancy.SourceOwn {
			return nil, missing(templateEntity)
		}
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return none{}, c.revision(ctx)
}

func (c *Call) writeTemplate(ctx context.Context, name string, alter func(*tenancy.EmailTemplate) (*tenancy.EmailTemplate, error)) (any, error) {
	if err := tenancy.ChangeEmailTemplate(ctx, name, alter); err != nil {
		return nil, err
	}
	if err := c.revision(ctx); err != nil {
		return nil, err
	}
	t, err := tenancy.EmailTemplateOf(ctx, name)
	if err != nil {
		return nil, err
	}
	return render(t), nil
}

// laidOver is a template with the members of a body; null is a member's default.
func laidOver(base *tenancy.EmailTemplate, doc document) (*tenancy.EmailTemplate, error) {
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(encode(base), &members); err != nil {
		return nil, err
	}
	for _, p := range doc {
		members[p.name] = p.value
	}
	maps.DeleteFunc(members, func(_ string, value json.RawMessage) bool { return jsonType(value) == "null" })
	t := tenancy.NewEmailTemplate(base.Template)
	return t, decode(encode(members), reflect.ValueOf(t).Elem(), "")
}
