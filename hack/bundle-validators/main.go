// Command bundle-validators runs the validators of the Operator Framework on an OLM bundle and its catalog:
//
//   - those of `operator-sdk bundle validate` with suite=operatorframework, without multiarch, which needs the images
//   - those of `opm validate`
//   - the checks of OLM v1 before the upgrade of a CRD
//
// It prints each finding in a line, and exits with status 1 if one of them is an error.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
	interfaces "github.com/operator-framework/api/pkg/validation/interfaces"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/crdify/pkg/config"
	"sigs.k8s.io/crdify/pkg/runner"
	"sigs.k8s.io/yaml"
)

var failed bool

func main() {
	bundle := flag.String("bundle", "", "folder of the bundle")
	catalog := flag.String("catalog", "", "folder of the file-based catalog")
	version := flag.String("kubernetes", "", "version of Kubernetes, for the APIs that it has removed")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: bundle-validators [--bundle FOLDER] [--catalog FOLDER] [--kubernetes VERSION] [OLD-CRD=NEW-CRD]...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *bundle != "" {
		validateBundle(*bundle, *version)
	}
	if *catalog != "" {
		validateCatalog(*catalog)
	}
	for _, pair := range flag.Args() {
		before, after, found := strings.Cut(pair, "=")
		if !found {
			fail(fmt.Errorf("%q is not OLD-CRD=NEW-CRD", pair))
		}
		compare(before, after)
	}
	if failed {
		os.Exit(1)
	}
}

func validateBundle(folder, version string) {
	bundle, err := manifests.GetBundleFromDir(folder)
	if err != nil {
		fail(err)
	}
	objects := bundle.ObjectsToValidate()
	for _, object := range bundle.Objects {
		objects = append(objects, object)
	}
	objects = append(objects, map[string]string{"k8s-version": version})
	for _, set := range []struct {
		name      string
		validator interfaces.Validator
	}{
		{"csv", validation.ClusterServiceVersionValidator},
		{"crd", validation.CustomResourceDefinitionValidator},
		{"bundle", validation.BundleValidator},
		{"operatorhubv2", validation.OperatorHubV2Validator},
		{"standardcategories", validation.StandardCategoriesValidator},
		{"standardcapabilities", validation.StandardCapabilitiesValidator},
		{"object", validation.ObjectValidator},
		{"good-practices", validation.GoodPracticesValidator},
		{"alpha-deprecated-apis", validation.AlphaDeprecatedAPIsValidator},
	} {
		for _, result := range set.validator.Validate(objects...) {
			for _, finding := range result.Errors {
				report(set.name, "error", finding.Error())
			}
			for _, finding := range result.Warnings {
				report(set.name, "warning", finding.Error())
			}
		}
	}
}

func validateCatalog(folder string) {
	catalog, err := declcfg.LoadFS(context.Background(), os.DirFS(folder))
	if err == nil {
		_, err = declcfg.ConvertToModel(*catalog)
	}
	if err != nil {
		report("opm", "error", err.Error())
	}
}

// compare runs the checks of OLM v1, which ignores descriptions.
func compare(before, after string) {
	configuration := &config.Config{
		Conversion:           config.ConversionPolicyIgnore,
		UnhandledEnforcement: config.EnforcementPolicyError,
		Validations:          []config.ValidationConfig{{Name: "description", Enforcement: config.EnforcementPolicyNone}},
	}
	checks, err := runner.New(configuration, runner.DefaultRegistry())
	if err != nil {
		fail(err)
	}
	results := checks.Run(read(before), read(after))
	if results.HasFailures() {
		report("crd-upgrade", "error", results.RenderPlainText())
	}
}

func read(path string) *apiextensionsv1.CustomResourceDefinition {
	text, err := os.ReadFile(path)
	if err != nil {
		fail(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(text, crd); err != nil {
		fail(fmt.Errorf("%s: %w", path, err))
	}
	return crd
}

func report(validator, severity, text string) {
	failed = failed || severity == "error"
	fmt.Printf("%s: %s: %s\n", validator, severity, strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    "))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bundle-validators:", err)
	os.Exit(2)
}
