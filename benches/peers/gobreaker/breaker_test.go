// Package peers measures gobreaker as its README shows it, with the settings of ../../resilience: trips at a failure
// rate of 50 % over at least 100 calls, waits an hour.
package peers

import (
	"errors"
	"testing"
	"time"

	"github.com/sony/gobreaker/v2"
)

var errFailed = errors.New("failed")

// What happens to the call with this number.
type result func(call int) (int, error)

func succeeds(call int) (int, error) { return call, nil }

func onePercentFails(call int) (int, error) {
	if call%100 == 0 {
		return 0, errFailed
	}
	return call, nil
}

// Keeps the compiler from leaving the work out.
var sink int

// A window of ten seconds that starts anew when it is over, or one that slides in seconds.
func breaker(bucket time.Duration) *gobreaker.CircuitBreaker[int] {
	return gobreaker.NewCircuitBreaker[int](gobreaker.Settings{
		Name:         "b",
		Interval:     10 * time.Second,
		BucketPeriod: bucket,
		Timeout:      time.Hour,
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			return counts.Requests >= 100 && 2*counts.TotalFailures >= counts.Requests
		},
	})
}

func through(b *testing.B, breaker *gobreaker.CircuitBreaker[int], of result) {
	for call := 0; b.Loop(); call++ {
		answer, err := breaker.Execute(func() (int, error) { return of(call) })
		if err == nil {
			sink = answer
		}
	}
}

func open(b *testing.B, breaker *gobreaker.CircuitBreaker[int]) *gobreaker.CircuitBreaker[int] {
	for range 200 {
		_, _ = breaker.Execute(func() (int, error) { return 0, errFailed })
	}
	if breaker.State() != gobreaker.StateOpen {
		b.Fatal("it did not open")
	}
	return breaker
}

func BenchmarkFloor(b *testing.B) {
	b.Run("bare call", func(b *testing.B) {
		for call := 0; b.Loop(); call++ {
			sink, _ = succeeds(call)
		}
	})
	b.Run("two clock reads", func(b *testing.B) {
		for b.Loop() {
			sink = int(time.Since(time.Now()))
		}
	})
}

func BenchmarkGobreaker(b *testing.B) {
	for name, bucket := range map[string]time.Duration{"interval 10 s": 0, "10 s in buckets": time.Second} {
		b.Run("success, "+name, func(b *testing.B) { through(b, breaker(bucket), succeeds) })
		b.Run("1 % failures, "+name, func(b *testing.B) { through(b, breaker(bucket), onePercentFails) })
		b.Run("rejection, "+name, func(b *testing.B) { through(b, open(b, breaker(bucket)), succeeds) })
	}
}
