package platform

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"regexp"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/signature"
	"gatehouse/sync/store"
)

var usernamePattern = regexp.MustCompile(`^[0-9a-zA-Z_]{5,64}$`)

// Life of a temporary AccessKey, and the window in which it may be refreshed
// (cloud-api.md, "Accounts").
const (
	temporaryLife = 2 * time.Hour
	refreshFrom   = 90 * time.Minute
)

func (p *Platform) addAccount(tx *bolt.Tx, username, password string) (account, error) {
	if !usernamePattern.MatchString(username) {
		return account{}, errcode.Param("username", "must be 5 to 64 letters, digits or _")
	}
	b := tx.Bucket(accountsBucket)
	err := each(p, tx, accountsBucket, func(_ string, a account) error {
		if a.Username == username {
			return errcode.New(errcode.UserNameUsed, "")
		}
		return nil
	})
	if err != nil {
		return account{}, err
	}
	a := account{Username: username, CreateTime: p.o.Now().Unix(), Logable: 1}
	if a.ID, err = next(b); err != nil {
		return account{}, err
	}
	if password != "" {
		a.Logable, a.Salt = 0, randomBytes(16)
		if a.Password, err = hashPassword(md5Hex([]byte(password)), a.Salt); err != nil {
			return account{}, err
		}
	}
	return a, store.PutJSON(b, idKey(a.ID), a)
}

func hashPassword(clientHash string, salt []byte) ([]byte, error) {
	return pbkdf2.Key(sha256.New, clientHash, salt, 100_000, 32)
}

// authenticate checks a signed request and gives the account.
func (p *Platform) authenticate(r *http.Request, body []byte) (a account, k accessKey, err error) {
	return p.signedBy(func(lookup signature.KeyLookup) error {
		_, err := signature.Verify(r, body, p.o.Now(), lookup)
		return err
	})
}

// authenticateSum is authenticate for a body that is not in memory, by its MD5.
func (p *Platform) authenticateSum(r *http.Request, sum []byte) (a account, k accessKey, err error) {
	return p.signedBy(func(lookup signature.KeyLookup) error {
		_, err := signature.VerifySum(r, sum, p.o.Now(), lookup)
		return err
	})
}

// knownKey checks that a request names a key that may be used, before its body
// is read and with it the signature checked.
func (p *Platform) knownKey(r *http.Request) (a account, k accessKey, err error) {
	return p.signedBy(func(lookup signature.KeyLookup) error {
		id := r.URL.Query().Get("accesskey_id")
		if id == "" {
			return errcode.New(errcode.AuthParamsMissing, "")
		}
		_, err := lookup(id)
		return err
	})
}

// signedBy gives key and account that verify has asked for.
func (p *Platform) signedBy(verify func(signature.KeyLookup) error) (a account, k accessKey, err error) {
	err = p.db.View(func(tx *bolt.Tx) error {
		err := verify(func(id string) (string, error) {
			ok, err := store.GetJSON(tx.Bucket(keysBucket), []byte(id), &k)
			switch {
			case err != nil:
				return "", err
			case !ok:
				return "", errcode.New(errcode.AuthKeyError, "")
			case k.Disabled:
				return "", errcode.New(errcode.AccessKeyDisabled, "")
			case k.Expires != 0 && p.o.Now().Unix() > k.Expires:
				return "", errcode.New(errcode.AuthExpired, "")
			}
			return k.Secret, nil
		})
		if err != nil {
			return err
		}
		ok, err := store.GetJSON(tx.Bucket(accountsBucket), idKey(k.AccountID), &a)
		switch {
		case err != nil:
			return err
		case !ok:
			return errcode.New(errcode.AccountNotExist, "")
		case a.State == 1:
			return errcode.New(errcode.AccountDisabled, "")
		}
		return nil
	})
	return a, k, err
}

// login is unsigned. Which of name and password is wrong is not told.
func (p *Platform) login(q *request) (any, error) {
	var in struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if !usernamePattern.MatchString(in.Username) {
		return nil, errcode.Param("username", "format error")
	}
	var found account
	var k accessKey
	err := p.db.Update(func(tx *bolt.Tx) error {
		err := each(p, tx, accountsBucket, func(_ string, a account) error {
			if a.Username == in.Username {
				found = a
			}
			return nil
		})
		if err != nil {
			return err
		}
		hash, err := hashPassword(in.Password, found.Salt)
		if err != nil {
			return err
		}
		if found.ID == 0 || len(found.Password) == 0 || subtle.ConstantTimeCompare(hash, found.Password) != 1 {
			return errcode.New(errcode.LoginFailed, "")
		}
		if found.Logable != 0 || found.State != 0 {
			return errcode.New(errcode.LoginNotAllowed, "")
		}
		k, err = p.addKey(tx, found.ID, p.o.Now().Add(temporaryLife).Unix(), true)
		return err
	})
	if err != nil {
		return nil, err
	}
	found.Salt, found.Password = nil, nil
	return struct {
		account
		ID     string `json:"accesskey_id"`
		Secret string `json:"accesskey_secret"`
		UserID int64  `json:"id"`
	}{found, k.ID, k.Secret, found.ID}, nil
}

// refreshKey gives a new pair for a temporary one in its last half hour.
func (p *Platform) refreshKey(q *request) (any, error) {
	age := p.o.Now().Sub(time.Unix(q.key.CreatedAt, 0))
	if !q.key.Temporary || age < refreshFrom || age > temporaryLife {
		return nil, errcode.New(errcode.AccessKeyRefreshFailed, "")
	}
	var k accessKey
	err := p.db.Update(func(tx *bolt.Tx) (err error) {
		if err = tx.Bucket(keysBucket).Delete([]byte(q.key.ID)); err != nil {
			return err
		}
		k, err = p.addKey(tx, q.account.ID, p.o.Now().Add(temporaryLife).Unix(), true)
		return err
	})
	return map[string]string{"accesskey_id": k.ID, "accesskey_secret": k.Secret}, err
}

// createKey makes a long-lived pair; expire_time in Unix seconds, 0 for never.
func (p *Platform) createKey(q *request) (any, error) {
	var in struct {
		Expires int64 `json:"expire_time"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if in.Expires != 0 && in.Expires <= p.o.Now().Unix() {
		return nil, errcode.Param("expire_time", "must be in the future")
	}
	var k accessKey
	err := p.db.Update(func(tx *bolt.Tx) (err error) {
		k, err = p.addKey(tx, q.account.ID, in.Expires, false)
		return err
	})
	return k, err
}

// listKeys lists the account's keys, without their secrets.
func (p *Platform) listKeys(q *request) (any, error) {
	var list []map[string]any
	err := p.db.View(func(tx *bolt.Tx) error {
		return each(p, tx, keysBucket, func(_ string, k accessKey) error {
			if k.AccountID == q.account.ID {
				list = append(list, map[string]any{"accesskey_id": k.ID, "expire_time": k.Expires, "disabled": k.Disabled, "temporary": k.Temporary, "create_time": k.CreatedAt})
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return scan(q.query, list)
}

// parseID reads an id of a path.
func parseID(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
