// SPDX-License-Identifier: Apache-2.0

// Command csi is a driver of volumes for one node, as small as the Container Storage Interface lets it be: kubelet speaks with it as with any
// other, and mounts happen as with those that are in use. What it has on a volume its attribute `on` says:
//
//	disk     a file system of its own (ext4 on a loop device), mounted for the node first and from there into pods,
//	         as drivers of clouds' disks do
//	folder   a folder of the node, as drivers of shared file systems do
//
// A volume that a pod has without a claim is memory, and goes with the pod.
//
//	csi -name NAME -kubelet DIR -data DIR -node NAME
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "csi:", err)
		os.Exit(3)
	}
}

func run(ctx context.Context) error {
	var d driver
	flag.StringVar(&d.name, "name", "disks.spoor.test", "what volumes call their driver")
	flag.StringVar(&d.node, "node", "", "what the node is called")
	flag.StringVar(&d.data, "data", "", "folder for what is on the volumes")
	kubelet := flag.String("kubelet", "/var/lib/kubelet", "root folder of the node's kubelet")
	flag.Parse()
	d.socket = filepath.Join(*kubelet, "plugins", d.name, "csi.sock")
	drive, register := grpc.NewServer(), grpc.NewServer()
	csi.RegisterIdentityServer(drive, &d)
	csi.RegisterNodeServer(drive, &d)
	registration.RegisterRegistrationServer(register, &registrar{driver: &d})
	served := make(chan error, 2)
	for _, s := range []struct {
		at     string
		server *grpc.Server
	}{{d.socket, drive}, {filepath.Join(*kubelet, "plugins_registry", d.name+"-reg.sock"), register}} { // kubelet looks at the second
		l, err := listen(s.at)
		if err != nil {
			return err
		}
		go func() { served <- s.server.Serve(l) }()
	}
	var err error
	ended := 0
	select {
	case <-ctx.Done():
	case err = <-served:
		ended++
	}
	drive.GracefulStop()
	register.GracefulStop()
	for ; ended < 2; ended++ {
		err = errors.Join(err, <-served)
	}
	return err
}

func listen(at string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(at), 0o750); err != nil {
		return nil, err
	}
	return net.Listen("unix", at)
}

// registrar tells kubelet of the driver (k8s.io/kubelet, pluginregistration).
type registrar struct {
	registration.UnsafeRegistrationServer
	driver *driver
}

func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: r.driver.name, Endpoint: r.driver.socket, SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus is how kubelet says what became of it.
func (r *registrar) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !s.GetPluginRegistered() {
		return nil, fmt.Errorf("kubelet does not take the driver: %s", s.GetError())
	}
	fmt.Println("registered")
	return &registration.RegistrationStatusResponse{}, nil
}
