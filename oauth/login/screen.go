package login

import (
	"errors"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Screen is one hosted page: a row of the table below, with a file and a
// template of its own.
type Screen struct {
	// Name is the last part of the path, /u/<name>, and the template's name.
	Name string

	// Title is the page's title and heading.
	Title string

	// Show returns what the template shows as .View. problem is what was wrong
	// with the submission that is answered, nil for a first look. An elsewhere
	// as error sends the browser there instead.
	Show func(s *step, problem *Problem) (view any, err error)

	// Submit stores the result of what a person entered. A [Problem] as error
	// shows the screen again, an elsewhere sends the browser there, and any other
	// shows an error page.
	Submit func(s *step) error
}

var screens = []Screen{loginScreen, signupScreen, resetScreen, sentScreen, organizationScreen, pickerScreen, consentScreen, deviceScreen}

func screenAt(path string) (Screen, bool) {
	for _, screen := range screens {
		if path == pagesPath+screen.Name {
			return screen, true
		}
	}
	return Screen{}, false
}

// elsewhere as the error of a Show function is the path the browser is sent to.
type elsewhere string

// Error implements error.
func (e elsewhere) Error() string { return "redirect to " + string(e) }

// Problem is what is wrong with what a person entered, in words for them.
type Problem struct {
	Status  int // of the answer; at least 400
	Message string
	Fields  map[string]string // what is wrong with single fields, by name

	// Rules are the demands on a new password, where it broke one.
	Rules []tenancy.PasswordRule

	retryAfter string // value of the Retry-After header; may be empty
}

// Error implements error.
func (p *Problem) Error() string { return p.Message }

// problemOf returns the problem to show a screen again with, or nil for an error
// that needs a page of its own.
func problemOf(err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	var busy *tenancy.Error
	if errors.As(err, &busy) && busy.Status == http.StatusTooManyRequests {
		return &Problem{
			Status: busy.Status, retryAfter: busy.Header["Retry-After"],
			Message: "Many people are logging in right now. Please try again in a moment.",
		}
	}
	return nil
}

// missing is the problem of fields left empty.
func missing(message string, fields map[string]string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Message: message, Fields: fields}
}
