// Package binding is how a board becomes part of an account, the part that
// board and cloud share.
//
// The board made two keys at its first start: with one (Ed25519) it proves
// that it is its serial number, whose public key the cloud knows from the
// factory list; for the other (X25519) the cloud encrypts what it hands over,
// so that broker credentials stay secret even where TLS ends early. The
// installer's AccessKey signs the request itself (package signature).
//
// Not protected: a factory list that holds a wrong key.
package binding

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// Keys are a board's private keys. Never log them.
type Keys struct {
	Sign ed25519.PrivateKey `json:"sign"`
	Seal []byte             `json:"seal"` // X25519, 32 bytes
}

// NewKeys makes a board's keys.
func NewKeys() (Keys, error) {
	_, sign, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Keys{}, fmt.Errorf("cannot make the board's keys: %w", err)
	}
	seal, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return Keys{}, fmt.Errorf("cannot make the board's keys: %w", err)
	}
	return Keys{Sign: sign, Seal: seal.Bytes()}, nil
}

// Public gives the public halves in hex.
func (k Keys) Public() (sign, seal string) {
	private, err := ecdh.X25519().NewPrivateKey(k.Seal)
	if err != nil {
		return "", ""
	}
	return hex.EncodeToString(k.Sign.Public().(ed25519.PublicKey)), hex.EncodeToString(private.PublicKey().Bytes())
}

// MaxSkew is how far the board's clock may be off when it proves itself. Boards
// without a clock battery bind right after power-up; a replay gives an attacker
// nothing, since the answer is sealed for the board.
const MaxSkew = 24 * time.Hour

// Proof is a board's word that it is being bound by this AccessKey.
type Proof struct {
	PublicKey string `json:"public_key"` // hex Ed25519
	SealKey   string `json:"seal_key"`   // hex X25519
	BindID    string `json:"bind_id"`    // the board's own id of this binding, so that a repeated one is known as such
	Time      int64  `json:"time"`       // Unix s
	Sig       string `json:"sig"`        // hex
}

func (p Proof) text(sn, accessKeyID string) []byte {
	return []byte(strings.Join([]string{"gatehouse/bind/v1", sn, accessKeyID, p.BindID, strconv.FormatInt(p.Time, 10), p.SealKey}, "\n"))
}

// Proof proves that the holder of k is being bound as sn by accessKeyID.
func (k Keys) Proof(sn, accessKeyID, bindID string, now time.Time) Proof {
	p := Proof{BindID: bindID, Time: now.Unix()}
	p.PublicKey, p.SealKey = k.Public()
	p.Sig = hex.EncodeToString(ed25519.Sign(k.Sign, p.text(sn, accessKeyID)))
	return p
}

// Verify checks a proof against the public key of the factory list. Errors are 1004.
func (p Proof) Verify(sn, accessKeyID, factoryKey string, now time.Time) error {
	if p.BindID == "" || len(p.BindID) > 64 {
		return errcode.Param("proof/bind_id", "must be 1 to 64 characters")
	}
	return verify(p.PublicKey, factoryKey, p.Sig, p.text(sn, accessKeyID), p.Time, now)
}

// Hello is a board's question what it is bound to.
type Hello struct {
	SN        string `json:"sn"`
	PublicKey string `json:"public_key"`
	SealKey   string `json:"seal_key"`
	Time      int64  `json:"time"`
	Nonce     string `json:"nonce"`
	Sig       string `json:"sig"`
}

func (h Hello) text() []byte {
	return []byte(strings.Join([]string{"gatehouse/hello/v1", h.SN, strconv.FormatInt(h.Time, 10), h.Nonce, h.SealKey}, "\n"))
}

// Hello asks on behalf of board sn.
func (k Keys) Hello(sn string, now time.Time) Hello {
	h := Hello{SN: sn, Time: now.Unix(), Nonce: rand.Text()}
	h.PublicKey, h.SealKey = k.Public()
	h.Sig = hex.EncodeToString(ed25519.Sign(k.Sign, h.text()))
	return h
}

// Verify checks a hello against the public key of the factory list. Errors are 1004.
func (h Hello) Verify(factoryKey string, now time.Time) error {
	return verify(h.PublicKey, factoryKey, h.Sig, h.text(), h.Time, now)
}

func verify(given, factory, sig string, text []byte, at int64, now time.Time) error {
	key, err1 := hex.DecodeString(factory)
	s, err2 := hex.DecodeString(sig)
	skew := now.Sub(time.Unix(at, 0)).Abs()
	if given != factory || err1 != nil || err2 != nil || len(key) != ed25519.PublicKeySize || skew > MaxSkew || !ed25519.Verify(key, text, s) {
		return errcode.New(errcode.AuthSignatureError, "")
	}
	return nil
}

// ValidPublicKey reports whether text is an Ed25519 public key in hex.
func ValidPublicKey(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == ed25519.PublicKeySize && text == strings.ToLower(text)
}

// Sealed is a binding that only the board can read.
type Sealed struct {
	Text string `json:"sealed"` // hex: encapsulated key and ciphertext
}

var sealInfo = []byte("gatehouse/binding/v1")

// Seal encrypts body for the board whose seal key (hex) is given: HPKE, RFC
// 9180, with X25519, HKDF-SHA256 and ChaCha20-Poly1305.
func Seal(sealKey string, body wire.BindBody) (Sealed, error) {
	raw, err := hex.DecodeString(sealKey)
	if err != nil {
		return Sealed{}, errcode.Param("seal_key", "must be hex")
	}
	public, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(raw)
	if err != nil {
		return Sealed{}, errcode.Param("seal_key", "must be an X25519 key")
	}
	text, err := json.Marshal(body)
	if err != nil {
		return Sealed{}, err
	}
	b, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), sealInfo, text)
	if err != nil {
		return Sealed{}, fmt.Errorf("cannot seal the binding: %w", err)
	}
	return Sealed{hex.EncodeToString(b)}, nil
}

// ErrSealed is a sealed binding that this board cannot open.
var ErrSealed = errors.New("cannot open the sealed binding: it is damaged or for another board")

// Open decrypts what the cloud sealed for this board.
func (k Keys) Open(s Sealed) (wire.BindBody, error) {
	b, err := hex.DecodeString(s.Text)
	if err != nil {
		return wire.BindBody{}, ErrSealed
	}
	private, err := hpke.DHKEM(ecdh.X25519()).NewPrivateKey(k.Seal)
	if err != nil {
		return wire.BindBody{}, ErrSealed
	}
	text, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), sealInfo, b)
	if err != nil {
		return wire.BindBody{}, ErrSealed
	}
	return wire.ParseBindBody(text)
}
