package mail

import (
	"fmt"
	"strings"
	"time"
)

// phrases are the texts in one language. Each says what its verbs stand for.
type phrases struct {
	invited    string // subject: name of the organization
	invitation string // inviter, organization
	until      string // time
	accept     string // of the button
	unexpected string

	blocked     string // subject
	blockedText string // name of the tenant, address

	verify, verifyLink string // subject; of the button
	verifyText         string // name of the tenant, time
	reset, resetLink   string
	resetText          string // name of the tenant, time
}

// languages are those there are texts in. English is first in what is asked for
// where nothing else is there.
var languages = map[string]*phrases{
	"en": {
		invited: "You are invited to %s", invitation: "%s invites you to join %s.", until: "Accept the invitation here, until %s:",
		accept: "Accept the invitation", unexpected: "If you did not expect this message, you can ignore it.",
		blocked: "Your account has been blocked",
		blockedText: "Somebody entered a wrong password for your account at %s several times, from the address %s.\n" +
			"Logins from there are blocked for now. If it was not you, there is nothing you need to do.",
		verify: "Confirm your email address", verifyLink: "Confirm",
		verifyText: "An account at %s has this email address. Confirm that it is yours, until %s:",
		reset:      "Choose a new password", resetLink: "Choose a password",
		resetText: "Somebody asked for a new password for your account at %s. Choose one here, until %s:",
	},
	"de": {
		invited: "Einladung zu %s", invitation: "%s lädt Sie ein, %s beizutreten.", until: "Nehmen Sie die Einladung hier an, bis %s:",
		accept: "Einladung annehmen", unexpected: "Falls Sie diese Nachricht nicht erwartet haben, können Sie sie ignorieren.",
		blocked: "Ihr Konto wurde gesperrt",
		blockedText: "Für Ihr Konto bei %s wurde mehrmals ein falsches Passwort eingegeben, von der Adresse %s.\n" +
			"Anmeldungen von dort sind vorerst gesperrt. Falls Sie es nicht waren, brauchen Sie nichts zu tun.",
		verify: "Bestätigen Sie Ihre E-Mail-Adresse", verifyLink: "Bestätigen",
		verifyText: "Ein Konto bei %s hat diese E-Mail-Adresse. Bestätigen Sie bis %s, dass es Ihre ist:",
		reset:      "Wählen Sie ein neues Passwort", resetLink: "Passwort wählen",
		resetText: "Für Ihr Konto bei %s wurde ein neues Passwort verlangt. Wählen Sie hier eines, bis %s:",
	},
	"fr": {
		invited: "Invitation à rejoindre %s", invitation: "%s vous invite à rejoindre %s.", until: "Acceptez l’invitation ici, jusqu’au %s :",
		accept: "Accepter l’invitation", unexpected: "Si vous n’attendiez pas ce message, vous pouvez l’ignorer.",
		blocked: "Votre compte a été bloqué",
		blockedText: "Un mot de passe erroné a été saisi plusieurs fois pour votre compte chez %s, depuis l’adresse %s.\n" +
			"Les connexions depuis cette adresse sont bloquées pour le moment. Si ce n’était pas vous, vous n’avez rien à faire.",
		verify: "Confirmez votre adresse e-mail", verifyLink: "Confirmer",
		verifyText: "Un compte chez %s utilise cette adresse e-mail. Confirmez qu’elle est la vôtre, jusqu’au %s :",
		reset:      "Choisissez un nouveau mot de passe", resetLink: "Choisir un mot de passe",
		resetText: "Un nouveau mot de passe a été demandé pour votre compte chez %s. Choisissez-en un ici, jusqu’au %s :",
	},
	"es": {
		invited: "Invitación a %s", invitation: "%s le invita a unirse a %s.", until: "Acepte la invitación aquí, hasta el %s:",
		accept: "Aceptar la invitación", unexpected: "Si no esperaba este mensaje, puede ignorarlo.",
		blocked: "Su cuenta ha sido bloqueada",
		blockedText: "Alguien introdujo varias veces una contraseña incorrecta para su cuenta en %s, desde la dirección %s.\n" +
			"Por ahora no se puede iniciar sesión desde allí. Si no fue usted, no tiene que hacer nada.",
		verify: "Confirme su dirección de correo electrónico", verifyLink: "Confirmar",
		verifyText: "Una cuenta en %s tiene esta dirección de correo electrónico. Confirme que es suya, hasta el %s:",
		reset:      "Elija una nueva contraseña", resetLink: "Elegir una contraseña",
		resetText: "Alguien pidió una nueva contraseña para su cuenta en %s. Elija una aquí, hasta el %s:",
	},
}

// Language returns the first of a tenant's locales that there are texts in, by its
// primary language: "de-AT" is "de". English where there is none.
func Language(locales []string) string {
	for _, locale := range locales {
		primary, _, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(locale, "_", "-")), "-")
		if languages[primary] != nil {
			return primary
		}
	}
	return "en"
}

func in(language string) *phrases {
	if p := languages[language]; p != nil {
		return p
	}
	return languages["en"]
}

// Invitation invites somebody into an organization.
type Invitation struct {
	Inviter, Organization string // names for people
	Until                 time.Time
	Link                  string
}

// Message is the mail of the invitation, in a language of [Language].
func (i Invitation) Message(language, to string) Message {
	p := in(language)
	organization := oneLine(i.Organization)
	return Message{
		Kind: "user_invitation", To: to, Language: language, Subject: fmt.Sprintf(p.invited, organization), Link: i.Link, LinkText: p.accept,
		Variables: map[string]any{
			"inviter": map[string]any{"name": oneLine(i.Inviter)}, "user": map[string]any{"email": to}, "expires_at": i.Until,
			"organization": map[string]any{"name": organization, "display_name": organization},
		},
		Text: strings.Join([]string{
			fmt.Sprintf(p.invitation, oneLine(i.Inviter), organization),
			fmt.Sprintf(p.until, i.Until.UTC().Format("2006-01-02 15:04 UTC")), i.Link, p.unexpected,
		}, "\n\n") + "\n",
	}
}

// Blocked tells somebody that logins to their account were blocked.
type Blocked struct {
	Tenant  string // its name for people
	Address string // where from
}

// Message is the mail, in a language of [Language].
func (b Blocked) Message(language, to string) Message {
	p := in(language)
	return Message{
		Kind: "blocked_account", To: to, Language: language, Subject: p.blocked,
		Variables: map[string]any{"user": map[string]any{"email": to, "source_ip": b.Address}},
		Text:      fmt.Sprintf(p.blockedText, oneLine(b.Tenant), b.Address) + "\n",
	}
}

// oneLine is a name as it stands in a subject, or in a sentence: without line
// breaks and what else only pretends to be a space.
func oneLine(name string) string { return strings.Join(strings.Fields(name), " ") }
