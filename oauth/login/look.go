package login

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"unicode/utf8"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// look is how a tenant's pages look: who they speak for, and their colours.
type look struct {
	Name     string // the tenant's name for people
	Logo     string // https URL; may be empty
	Accent   string // colour of buttons, "#rrggbb"; empty for the style sheet's
	OnAccent string // colour of text on Accent

	SupportURL   string // http or https; may be empty
	SupportEmail string // may be empty
}

// Initial stands for the logo where there is none.
func (l look) Initial() string {
	r, _ := utf8.DecodeRuneInString(l.Name)
	return string(r)
}

// branding is the part of an organization's branding that is used.
type branding struct {
	LogoURL string `json:"logo_url"`
	Colors  struct {
		Primary string `json:"primary"`
	} `json:"colors"`
}

// lookOf is the look of the entered tenant's pages, the organization's branding
// over the tenant's. It is made from the bare name where settings cannot be
// read: an error page still has to be shown then.
func lookOf(ctx context.Context, org *tenancy.Organization) look {
	l := look{Name: tenancy.VisitOf(ctx).Host}
	if t, err := tenancy.Current(ctx); err == nil {
		l.Name = t.ID
		if t.FriendlyName != "" {
			l.Name = t.FriendlyName
		}
	}
	if settings, err := tenancy.EffectiveSettings(ctx); err == nil {
		if name := settings.String("friendly_name"); name != "" {
			l.Name = name
		}
		l.Logo = imageURL(settings.String("picture_url"))
		l.SupportURL, l.SupportEmail = settings.String("support_url"), settings.String("support_email")
	}
	if org != nil {
		var b branding
		if len(org.Branding) > 0 && json.Unmarshal(org.Branding, &b) == nil {
			if logo := imageURL(b.LogoURL); logo != "" {
				l.Logo = logo
			}
			l.colour(b.Colors.Primary)
		}
	}
	return l
}

// imageURL returns the URL of an image that the page's policy can allow.
func imageURL(u string) string {
	if source := cspSource(u); len(source) > len("https://") && source[:len("https://")] == "https://" {
		return u
	}
	return ""
}

var hexColour = regexp.MustCompile(`^#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})$`)

// colour sets the accent, with a text colour that is readable on it. Anything
// but a colour in hexadecimal has no effect.
func (l *look) colour(text string) {
	if !hexColour.MatchString(text) {
		return
	}
	if len(text) == 4 {
		text = fmt.Sprintf("#%c%c%c%c%c%c", text[1], text[1], text[2], text[2], text[3], text[3])
	}
	l.Accent, l.OnAccent = text, "#ffffff"
	// White or black, whichever has more contrast: one of them always has the 4.5
	// to 1 that text needs (WCAG 2.2, 1.4.3).
	if y := luminance(text); (y+0.05)*(y+0.05) > 1.05*(luminance(darkText)+0.05) {
		l.OnAccent = darkText
	}
}

const darkText = "#000000"

// luminance is the relative luminance of "#rrggbb", from 0 to 1 (WCAG 2.2).
func luminance(colour string) float64 {
	weights := [3]float64{0.2126, 0.7152, 0.0722}
	var y float64
	for i, weight := range weights {
		n, _ := strconv.ParseUint(colour[1+2*i:3+2*i], 16, 8) // hexColour matched
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		y += weight * c
	}
	return y
}

// organizationName is an organization's name for people.
func organizationName(org *tenancy.Organization) string {
	if org.DisplayName != "" {
		return org.DisplayName
	}
	return org.Name
}
