package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
)

// keyFor derives a key of 32 bytes from SECRET_KEY for one purpose (HKDF, RFC
// 5869), so that what is signed or sealed for one can't be used for another.
func (s *server) keyFor(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, s.cfg.secretKey, nil, "chatter "+purpose, 32)
	if err != nil {
		panic(err) // only a longer key than SHA-256 can give is refused
	}
	return key
}

var errUnsealable = errors.New("what is kept under seal can't be read: was SECRET_KEY changed?")

// seal encrypts what the database keeps but must not tell (AES-256-GCM, NIST
// SP 800-38D): nonce, ciphertext and tag.
func (s *server) seal(purpose string, plain []byte) []byte {
	return s.aead(purpose).Seal(nil, nil, plain, nil)
}

// unseal is the text that seal was given for the same purpose, or errUnsealable.
func (s *server) unseal(purpose string, sealed []byte) ([]byte, error) {
	plain, err := s.aead(purpose).Open(nil, nil, sealed, nil)
	if err != nil {
		return nil, errUnsealable
	}
	return plain, nil
}

func (s *server) aead(purpose string) cipher.AEAD {
	block, err := aes.NewCipher(s.keyFor(purpose))
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has blocks of 16 bytes
	}
	return aead
}

// newSecret is a random text of 256 bits for a link, and the hash under which
// the database finds it again.
func newSecret() (text string, hash []byte) {
	random := make([]byte, 32)
	rand.Read(random)
	text = base64.RawURLEncoding.EncodeToString(random)
	return text, hashSecret(text)
}

// hashSecret needs no salt and no slowness: what it hashes is random.
func hashSecret(text string) []byte {
	hash := sha256.Sum256([]byte(text))
	return hash[:]
}
