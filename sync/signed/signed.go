// Package signed seals the contents of changes (config, whitelist) so that
// whoever carries them, a broker above all, can neither make nor alter nor
// repeat one.
//
// The parties: an account's cloud signs a Header with Ed25519; a board verifies
// it with the keys that it was given when it was bound, and refuses what is not
// newer than what it has taken before. What is signed is a type prefix and the
// header in canonical JSON; the content itself is named by digest and length,
// so that it may come by another way, and later, and the set that a delta starts
// from by its digest.
//
// Promised: a signature for one kind, device or group is none for another; an
// older or equal sequence is refused, but only after the signature was found
// good, so that a stranger learns nothing and moves nothing.
//
// Not protected: a content that is held back (a board cannot know what it was
// not told), an account's key that is stolen, a board whose state is replaced
// by an older copy of itself.
package signed

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// Header is what a signature covers (management.md, "Changes").
type Header struct {
	Kind      string // config, whitelist
	Scope     string // whom it is for: a serial number, or GroupScope
	Sequence  uint64 // 1 to MaxSequence, rises with each content of a kind and scope
	Digest    string // "sha256:" and 64 hex digits, of the content
	Length    int64  // of the content in bytes
	Base      string // of a delta: the digest of the set it starts from; empty: any
	KeyID     string
	NotBefore int64 // Unix s; 0: at once
}

// MaxSequence is the largest whole number that every JSON reader keeps exact (2^53-1).
const MaxSequence = 1<<53 - 1

// GroupScope is the scope of what is for all devices of a group.
func GroupScope(id int64) string { return "group:" + strconv.FormatInt(id, 10) }

// Text is the bytes that are signed: the type prefix "gatehouse/{kind}/v1\n" and
// the header as JSON with its keys in order, no spaces, and no escapes (which
// the allowed characters never need); base is left out where it is empty.
// Errors are 1103 naming the field.
func (h Header) Text() ([]byte, error) {
	for _, f := range []struct {
		name, value string
		most        int
	}{{"kind", h.Kind, 32}, {"scope", h.Scope, 64}, {"key_id", h.KeyID, 64}} {
		if f.value == "" || len(f.value) > f.most || strings.IndexFunc(f.value, odd) >= 0 {
			return nil, errcode.Param("signature/"+f.name, fmt.Sprintf("must be 1 to %d letters, digits, -, _, . or :", f.most))
		}
	}
	switch {
	case h.Sequence < 1 || h.Sequence > MaxSequence:
		return nil, errcode.Param("signature/sequence", "must be 1 to 9007199254740991")
	case !ValidDigest(h.Digest):
		return nil, errcode.Param("digest", "must be sha256: and 64 lower-case hex digits")
	case h.Base != "" && !ValidDigest(h.Base):
		return nil, errcode.Param("base", "must be sha256: and 64 lower-case hex digits")
	case h.Length < 0 || h.NotBefore < 0 || h.NotBefore > MaxSequence:
		return nil, errcode.Param("signature/not_before", "and length must be whole numbers from 0")
	}
	base := ""
	if h.Base != "" {
		base = `"base":"` + h.Base + `",`
	}
	return fmt.Appendf(nil, "gatehouse/%s/v1\n"+`{%s"digest":"%s","key_id":"%s","kind":"%s","length":%d,"not_before":%d,"scope":"%s","sequence":%d}`,
		h.Kind, base, h.Digest, h.KeyID, h.Kind, h.Length, h.NotBefore, h.Scope, h.Sequence), nil
}

func odd(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.:", c))
}

// ValidDigest reports whether text is "sha256:" and 64 lower-case hex digits.
func ValidDigest(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// Sign signs a header; the result goes into a stage command.
func Sign(h Header, key ed25519.PrivateKey) (*wire.Signature, error) {
	text, err := h.Text()
	if err != nil {
		return nil, err
	}
	return &wire.Signature{KeyID: h.KeyID, Scope: h.Scope, Sequence: h.Sequence, NotBefore: h.NotBefore, Sig: hex.EncodeToString(ed25519.Sign(key, text))}, nil
}

// UseChanges is the use of a key (wire.Key) that signs configs and whitelists;
// an empty use means the same.
const UseChanges = "changes"

// Keys are the public keys that a board trusts, by id. During a rotation both
// the old and the new one are in it.
type Keys map[string]ed25519.PublicKey

// ParseKeys takes the keys for changes out of a binding's keys. An unusable one
// is 1103 naming it, so that a binding that would lock the account out is refused.
func ParseKeys(list []wire.Key) (Keys, error) {
	keys := Keys{}
	for i, k := range list {
		if k.Use != "" && k.Use != UseChanges {
			continue
		}
		public, err := hex.DecodeString(k.PublicKey)
		if err != nil || len(public) != ed25519.PublicKeySize {
			return nil, errcode.Param(fmt.Sprintf("keys/%d/public_key", i), "must be 64 hex digits, an Ed25519 key")
		}
		if k.KeyID == "" || keys[k.KeyID] != nil {
			return nil, errcode.Param(fmt.Sprintf("keys/%d/key_id", i), "must be there, once")
		}
		keys[k.KeyID] = public
	}
	return keys, nil
}

// Refusal says at which of the checks a signature failed.
type Refusal string

// The checks, in their order.
const (
	Missing    Refusal = "there is none, and the account's policy asks for one"
	UnknownKey Refusal = "its key_id is not among the board's keys"
	Foreign    Refusal = "its scope is neither this board nor its group"
	Wrong      Refusal = "it is not that of the content"
	Stale      Refusal = "its sequence is not newer than the last one"
	Early      Refusal = "its not_before is still to come"
)

// refuse is a 1004 (over MQTT 401) with the reason behind the table's message.
func refuse(why Refusal, more string) error {
	return errcode.New(errcode.AuthSignatureError, "The signature is refused: "+string(why)+more+"!")
}

// Missed is the refusal of a content that came without a signature.
func Missed() error { return refuse(Missing, "") }

// Outdated is the refusal to apply what was overtaken: a newer content of its
// kind and scope is in force.
func Outdated(sequence, applied uint64) error {
	return refuse(Stale, fmt.Sprintf(" (%d after %d)", sequence, applied))
}

// Verifier is a board's side.
type Verifier struct {
	Keys   Keys
	Scopes []string // the board's own; the first is meant where a signature names none
	// Last gives the highest sequence taken so far for a kind and scope, 0 for none.
	Last func(kind, scope string) (uint64, error)
	Now  func() time.Time
}

// Verify checks a signature over a content that is named by of's Kind, Digest,
// Length and Base: the signature first, then that its sequence is newer, then that its
// time has come. It gives the header, whose sequence the caller records
// together with what it accepts. Errors are 1004, or 1103 for a form that cannot be.
func (v Verifier) Verify(of Header, s *wire.Signature) (Header, error) {
	if s == nil {
		return Header{}, Missed()
	}
	h := of
	h.Scope, h.Sequence, h.KeyID, h.NotBefore = s.Scope, s.Sequence, s.KeyID, s.NotBefore
	if h.Scope == "" && len(v.Scopes) > 0 {
		h.Scope = v.Scopes[0]
	}
	text, err := h.Text()
	if err != nil {
		return h, err
	}
	key, known := v.Keys[h.KeyID]
	switch {
	case !known:
		return h, refuse(UnknownKey, "")
	case !slices.Contains(v.Scopes, h.Scope):
		return h, refuse(Foreign, "")
	}
	sig, err := hex.DecodeString(s.Sig)
	if err != nil || !ed25519.Verify(key, text, sig) {
		return h, refuse(Wrong, "")
	}
	last, err := v.Last(h.Kind, h.Scope)
	if err != nil {
		return h, fmt.Errorf("cannot read the last sequence: %w", err)
	}
	if h.Sequence <= last {
		return h, refuse(Stale, fmt.Sprintf(" (%d after %d)", h.Sequence, last))
	}
	if now := v.Now(); now.Unix() < h.NotBefore {
		return h, refuse(Early, fmt.Sprintf(" (%s, the board's clock says %s)", time.Unix(h.NotBefore, 0).UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
	}
	return h, nil
}

// ParseSignature reads a signature as JSON; a form that cannot be is an error.
func ParseSignature(text []byte) (*wire.Signature, error) {
	var s wire.Signature
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, errcode.Param("signature", "must be an object with key_id, sequence, not_before and sig")
	}
	return &s, nil
}
