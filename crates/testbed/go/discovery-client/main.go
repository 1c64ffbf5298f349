// Command discovery-client follows an Emcee by delta xDS, with the types of go-control-plane and of Kubernetes, and
// prints each response as a line of JSON. It ends when its standard input does.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/anypb"
	"k8s.io/api/discovery/v1"
)

const endpointSlice = "type.googleapis.com/k8s.io.api.discovery.v1.EndpointSlice"

type options struct {
	address, serverName, peer, certificate, key, ca, refuse string
}

// A response, decoded.
type response struct {
	Nonce     string     `json:"nonce"`
	TypeURL   string     `json:"type_url"`
	Resources []resource `json:"resources"`
	Removed   []string   `json:"removed"`
	Refused   []string   `json:"refused"`
}

type resource struct {
	Name    string           `json:"name"`
	Version string           `json:"version"`
	Slice   v1.EndpointSlice `json:"slice"`
}

func main() {
	var o options
	flag.StringVar(&o.address, "address", "", "where to connect: host:port")
	flag.StringVar(&o.serverName, "server-name", "", "the server name to ask for; none: no SNI")
	flag.StringVar(&o.peer, "peer", "", "a DNS name that the server's certificate has to have")
	flag.StringVar(&o.certificate, "certificate", "", "file with the client's certificate")
	flag.StringVar(&o.key, "key", "", "file with its key")
	flag.StringVar(&o.ca, "ca", "", "file with the authority of the server's certificate")
	flag.StringVar(&o.refuse, "refuse", "", "a resource to refuse")
	flag.Parse()
	go func() {
		// Whoever started it has what it wanted, or is gone.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if err := follow(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func follow(o options) error {
	config, err := tlsConfig(o)
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient("passthrough:///"+o.address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return err
	}
	defer connection.Close()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(connection).DeltaAggregatedResources(context.Background())
	if err != nil {
		return err
	}
	first := &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "discovery-client"}, TypeUrl: endpointSlice}
	if err := stream.Send(first); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for {
		received, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := take(stream, received, o.refuse); err != nil {
			return err
		}
	}
}

// Prints a response and answers it: taken, but for what is to be refused.
func take(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, received *discovery.DeltaDiscoveryResponse, refuse string) error {
	decoded, err := decode(received)
	if err != nil {
		return err
	}
	answer := &discovery.DeltaDiscoveryRequest{TypeUrl: endpointSlice, ResponseNonce: received.GetNonce()}
	if slices.ContainsFunc(decoded.Resources, func(r resource) bool { return r.Name == refuse }) {
		decoded.Refused = append(decoded.Refused, refuse)
		if answer.ErrorDetail, err = refusal(refuse); err != nil {
			return err
		}
	}
	// Before it is printed: who reads it may go on at once.
	if err := stream.Send(answer); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(decoded)
}

func decode(received *discovery.DeltaDiscoveryResponse) (response, error) {
	decoded := response{
		Nonce:     received.GetNonce(),
		TypeURL:   received.GetTypeUrl(),
		Resources: []resource{},
		Removed:   append([]string{}, received.GetRemovedResources()...),
		Refused:   []string{},
	}
	for _, one := range received.GetResources() {
		if url := one.GetResource().GetTypeUrl(); url != endpointSlice {
			return decoded, fmt.Errorf("resource %s is a %s", one.GetName(), url)
		}
		named := resource{Name: one.GetName(), Version: one.GetVersion()}
		if err := named.Slice.Unmarshal(one.GetResource().GetValue()); err != nil {
			return decoded, fmt.Errorf("resource %s: %w", one.GetName(), err)
		}
		decoded.Resources = append(decoded.Resources, named)
	}
	return decoded, nil
}

func refusal(name string) (*status.Status, error) {
	violation := &errdetails.BadRequest_FieldViolation{Field: name, Description: "not wanted by discovery-client"}
	detail, err := anypb.New(&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{violation}})
	if err != nil {
		return nil, err
	}
	return &status.Status{Code: int32(codes.InvalidArgument), Message: "one resource refused", Details: []*anypb.Any{detail}}, nil
}

// The server's name in its certificate is not the one that is asked for: it is a peer's own, as anywhere in a relationship.
func tlsConfig(o options) (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(o.certificate, o.key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(o.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", o.ca)
	}
	verify := func(state tls.ConnectionState) error {
		intermediates := x509.NewCertPool()
		for _, certificate := range state.PeerCertificates[1:] {
			intermediates.AddCert(certificate)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: o.peer, Roots: roots, Intermediates: intermediates})
		return err
	}
	return &tls.Config{
		Certificates:       []tls.Certificate{own},
		ServerName:         o.serverName,
		InsecureSkipVerify: true, // By VerifyConnection instead.
		VerifyConnection:   verify,
		MinVersion:         tls.VersionTLS12,
	}, nil
}
