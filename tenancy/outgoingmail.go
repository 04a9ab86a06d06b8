package tenancy

import "time"

// OutgoingMail is an e-mail that has yet to leave. It is in the database of the
// tenant it is sent for, so that taking it over needs nothing else, and is removed
// once a mail server has it or it is given up.
type OutgoingMail struct {
	Row
	Kind      string // name of its template
	Message   string `gorm:"serializer:sealed"` // JSON; links in it let people in
	Attempts  int64
	DueAt     Time // while it is being sent: when it may be tried again if nobody says how that ended
	ExpiresAt Time
}

// OutgoingMails is their table.
var OutgoingMails = newTable[OutgoingMail]("outgoing_mails")

// MailLife is for how long an e-mail is tried.
const MailLife = 24 * time.Hour
